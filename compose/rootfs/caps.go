package rootfs

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// capNames are the capabilities by number.
var capNames = strings.Fields(`chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap
	linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio
	sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease
	audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon
	bpf checkpoint_restore`)

const allCaps = 1<<41 - 1

// parseCaps turns the text form of file capabilities, as headers hold it
// ("cap_net_raw=ep", "cap_setgid,cap_setuid+ep", "= cap_chown+i"), into the
// value of the attribute security.capability. No capabilities give nil.
func parseCaps(text string) ([]byte, error) {
	var effective, permitted, inheritable uint64
	for _, clause := range strings.Fields(text) {
		at := strings.IndexAny(clause, "=+-")
		if at < 0 {
			return nil, fmt.Errorf("file capabilities %q: no operator in %q", text, clause)
		}
		set, err := parseCapSet(clause[:at])
		if err != nil {
			return nil, fmt.Errorf("file capabilities %q: %w", text, err)
		}
		for rest := clause[at:]; rest != ""; {
			op := rest[0]
			rest = rest[1:]
			end := strings.IndexAny(rest, "=+-")
			if end < 0 {
				end = len(rest)
			}
			flags := rest[:end]
			rest = rest[end:]
			if strings.Trim(flags, "epi") != "" {
				return nil, fmt.Errorf("file capabilities %q: unknown flag in %q", text, flags)
			}
			for flag, word := range map[string]*uint64{"e": &effective, "p": &permitted, "i": &inheritable} {
				switch {
				case op == '=' && !strings.Contains(flags, flag), op == '-' && strings.Contains(flags, flag):
					*word &^= set
				case op != '-' && strings.Contains(flags, flag):
					*word |= set
				}
			}
		}
	}
	if effective|permitted|inheritable == 0 {
		return nil, nil
	}
	magic := uint32(0x02000000)
	if effective != 0 {
		// A file has one effective bit, for all its capabilities.
		magic |= 1
	}
	out := binary.LittleEndian.AppendUint32(nil, magic)
	for _, shift := range []int{0, 32} {
		out = binary.LittleEndian.AppendUint32(out, uint32(permitted>>shift))
		out = binary.LittleEndian.AppendUint32(out, uint32(inheritable>>shift))
	}
	return out, nil
}

func parseCapSet(list string) (uint64, error) {
	if list == "" || list == "all" {
		return allCaps, nil
	}
	var set uint64
next:
	for _, name := range strings.Split(list, ",") {
		short := strings.TrimPrefix(strings.ToLower(name), "cap_")
		for i, n := range capNames {
			if n == short {
				set |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("unknown capability %q", name)
	}
	return set, nil
}
