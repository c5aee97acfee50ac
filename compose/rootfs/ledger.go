package rootfs

import (
	"fmt"
	"regexp"
	"strings"

	"photree/compose/rpm"
)

// Accounts are the account files of an earlier tree. Users and groups that
// come again keep the ids they had: files in a host's /var belong to ids, and
// an id that another account got would hand them over.
type Accounts struct {
	Passwd, Group []byte
}

// ledger gives accounts their earlier ids, as soon as the tree has account
// files and before a script makes the account anew.
type ledger struct {
	accounts Accounts
	done     bool
}

// apply adds the earlier accounts that the packages of this tree speak of: as
// owner of a file, in a script, or in a sysusers.d file. Others stay away, so
// that an account goes when the last package with it goes.
func (l *ledger) apply(root *rootDir, epoch int64, headers []*rpm.Package) error {
	if l.done || len(l.accounts.Passwd)+len(l.accounts.Group) == 0 || !root.exists("/etc/passwd") || !root.exists("/etc/group") {
		return nil
	}
	l.done = true
	wanted := namesIn(headers)
	s := readAccounts(root, epoch)
	for _, f := range splitLines(l.accounts.Group) {
		if len(f) < 3 || !wanted[f[0]] || s.files["group"].find(f[0]) != nil {
			continue
		}
		if gid, ok := s.stated(f[2], true); ok && !s.gids[gid] {
			if _, err := s.group(f[0], f[2]); err != nil {
				return err
			}
		}
	}
	for _, f := range splitLines(l.accounts.Passwd) {
		if len(f) < 7 || !wanted[f[0]] || s.files["passwd"].find(f[0]) != nil {
			continue
		}
		if uid, ok := s.stated(f[2], false); !ok || s.uids[uid] {
			continue
		}
		err := s.user(sysuser{kind: "u", name: f[0], id: f[2] + ":" + f[3], gecos: f[4], home: f[5], shell: f[6]})
		if err != nil {
			return err
		}
	}
	if err := s.store(); err != nil {
		return fmt.Errorf("keeping the ids of accounts: %w", err)
	}
	return nil
}

func splitLines(data []byte) [][]string {
	var out [][]string
	for _, l := range strings.Split(string(data), "\n") {
		if l != "" && l[0] != '#' {
			out = append(out, strings.Split(l, ":"))
		}
	}
	return out
}

// accountName is what an account can be called.
var accountName = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_.-]*`)

// namesIn gives every word that could be an account which the packages own
// files with or make in a script, and the accounts of their sysusers.d files,
// whose names RPM 4.19 records as what a package provides.
func namesIn(headers []*rpm.Package) map[string]bool {
	out := map[string]bool{}
	for _, p := range headers {
		for i := range p.Files {
			out[p.Files[i].Owner], out[p.Files[i].Group] = true, true
		}
		for _, s := range p.Scripts {
			if strings.Contains(s.Body, "useradd") || strings.Contains(s.Body, "groupadd") || strings.Contains(s.Body, "sysusers") {
				for _, w := range accountName.FindAllString(s.Body, -1) {
					out[w] = true
				}
			}
		}
		for _, d := range p.Provides {
			if name, ok := strings.CutPrefix(d.Name, "user("); ok {
				out[strings.TrimSuffix(name, ")")] = true
			} else if name, ok := strings.CutPrefix(d.Name, "group("); ok {
				out[strings.TrimSuffix(name, ")")] = true
			}
		}
	}
	return out
}
