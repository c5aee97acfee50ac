package kickstart

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// TestPhotonSamples: the sample files of Photon's installer, in their words.
func TestPhotonSamples(t *testing.T) {
	fromDefault := `{
	"hostname": "photon-machine",
	"password": {"crypted": false, "text": "changeme"},
	"disk": "/dev/sda",
	"ostree": {"default_repo": true},
	"postinstall": ["#!/bin/sh", "sed -i 's/x/y/' /etc/ssh/sshd_config"],
	"linux_flavor": "linux"
}`
	c, err := Parse([]byte(fromDefault))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{Hostname: "photon-machine", Password: Password{Text: "changeme"}, Disk: "/dev/sda", Eject: true,
		Repo: Repo{Default: true}, PostInstall: []Script{{"postinstall", "#!/bin/sh\nsed -i 's/x/y/' /etc/ssh/sshd_config\n"}},
		Ignored: []string{"linux_flavor"}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}

	yamlSample := `
hostname: photon
live: false
disks:
  default:
    filename: host.raw
    size: 2048
ostree:
  default_repo: false
  repo_url: https://packages.vmware.com/photon/rpm-ostree/base/5.0/x86_64/repo/
  repo_ref: photon/5.0/x86_64/minimal
password:
  text: "$6$abc$def"
  crypted: true
  age: -1
public_key: {key: "ssh-ed25519 AAAA me", reason: testing}
bootmode: efi
partitions:
- {mountpoint: /boot, size: 128, filesystem: ext4}
- {mountpoint: /root, sizepercent: 5}
- {filesystem: swap, sizepercent: 5}
- {mountpoint: /, size: 0, filesystem: ext4, mkfs_options: -b 4096, fs_options: noatime}
`
	c, err = Parse([]byte(yamlSample))
	if err != nil {
		t.Fatal(err)
	}
	age := -1
	want = &Config{Hostname: "photon", Password: Password{Hash: "$6$abc$def", Age: &age}, Disk: "host.raw", DiskSize: 2048 << 20, Eject: true,
		PublicKeys: []string{"ssh-ed25519 AAAA me"}, BootMode: "efi", Ignored: []string{"live"},
		Repo: Repo{URL: "https://packages.vmware.com/photon/rpm-ostree/base/5.0/x86_64/repo/", Ref: "photon/5.0/x86_64/minimal"},
		Partitions: []Partition{{Mountpoint: "/boot", Size: 128 << 20, Filesystem: "ext4"}, {Mountpoint: "/root", Percent: 5},
			{Filesystem: "swap", Percent: 5}, {Mountpoint: "/", Filesystem: "ext4", MkfsArgs: []string{"-b", "4096"}, Options: "noatime"}}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestOlderSchema(t *testing.T) {
	c, err := Parse([]byte(`{"type": "ostree_host", "disk": "/dev/vda", "ostree_repo_url": "http://10.0.0.1/repo",
		"ostree_repo_ref": "photon/1.0/x86_64/minimal", "default_repo": false, "public_key": "ssh-rsa AAAA", "eject_cdrom": false}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Repo != (Repo{URL: "http://10.0.0.1/repo", Ref: "photon/1.0/x86_64/minimal"}) || c.PublicKeys[0] != "ssh-rsa AAAA" || c.Eject {
		t.Errorf("got %+v", c)
	}
	if c, err = Parse([]byte(`{"type": "ostree_host", "disk": "/dev/vda"}`)); err != nil || !c.Repo.Default {
		t.Errorf("without any repository the one on the medium is meant: %+v, %v", c, err)
	}
}

func TestNetwork(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"DHCP in the older form", `{"type": "dhcp", "hostname": "h"}`,
			"50-ethernet.network:[Match]|Name=e*||[Network]|DHCP=yes|"},
		{"a static address in the older form", `{"type": "static", "ip_addr": "10.0.0.5", "netmask": "255.255.252.0", "gateway": "10.0.0.1", "nameserver": "1.1.1.1"}`,
			"50-ethernet.network:[Match]|Name=e*||[Network]|DHCP=no|Address=10.0.0.5/22|Gateway=10.0.0.1|DNS=1.1.1.1|"},
		{"a VLAN in the older form", `{"type": "vlan", "vlan_id": "100"}`,
			"40-vlan100.netdev:[NetDev]|Name=vlan100|Kind=vlan||[VLAN]|Id=100| " +
				"50-ethernet.network:[Match]|Name=e*||[Network]|DHCP=no|VLAN=vlan100| " +
				"50-vlan100.network:[Match]|Name=vlan100||[Network]|DHCP=yes|"},
		{"version 2 by name and MAC address", `{"version": 2, "ethernets": {"id0": {"match": {"name": "eth*"}, "dhcp4": true, "accept-ra": false},
			"id1": {"match": {"macaddress": "00:11:22:33:44:55"}, "addresses": ["192.168.1.2/24", "fd00::2/64"], "gateway": "192.168.1.1",
			"nameservers": {"addresses": ["9.9.9.9"], "search": ["example.com", "lan"]}}}}`,
			"50-id0.network:[Match]|Name=eth*||[Network]|DHCP=ipv4|IPv6AcceptRA=no| " +
				"50-id1.network:[Match]|MACAddress=00:11:22:33:44:55||[Network]|DHCP=no|Address=192.168.1.2/24|Address=fd00::2/64|Gateway=192.168.1.1|DNS=9.9.9.9|Domains=example.com lan|"},
		{"version 2 with a VLAN", `{"version": "2", "ethernets": {"eth0": {"dhcp4": true, "dhcp6": true}}, "vlans": {"v7": {"id": 7, "link": "eth0", "dhcp4": true}}}`,
			"40-v7.netdev:[NetDev]|Name=v7|Kind=vlan||[VLAN]|Id=7| " +
				"50-eth0.network:[Match]|Name=eth0||[Network]|DHCP=yes|VLAN=v7| " +
				"50-v7.network:[Match]|Name=v7||[Network]|DHCP=ipv4|"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse([]byte(`{"network": ` + tt.text + `}`))
			if err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(c.Network), "map["), "]"), "\n", "|")
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"an unknown key", `{"hostnme": "x"}`, `unknown key "hostnme"`},
		{"an unknown key further down", `{"disks": {"default": {"device": "/dev/sda", "sise": 1}}}`, `unknown key "disks.default.sise"`},
		{"an unknown key in a list", `{"partitions": [{"mountpoint": "/", "lvm": {}}]}`, `unknown key "partitions[0].lvm"`},
		{"a key that photree cannot do", `{"ansible": []}`, `key "ansible" is not supported`},
		{"a number for a string", `{"hostname": 5}`, `key "hostname": want a string, got a number`},
		{"a string for an object", `{"password": "x"}`, `key "password": want an object, got a string`},
		{"a fraction", `{"partitions": [{"size": 1.5}]}`, `key "partitions[0].size": want a whole number`},
		{"an unknown boot mode", `{"bootmode": "uefi"}`, `"uefi" is not one of bios, efi, dualboot`},
		{"an unknown file system", `{"partitions": [{"filesystem": "zfs"}]}`, `"zfs" is not one of`},
		{"a repository without a ref", `{"ostree": {"repo_url": "http://x/"}}`, "both repo_url and repo_ref"},
		{"a hash that is none", `{"password": {"text": "secret", "crypted": true}}`, "not a hash"},
		{"a key that is none", `{"public_key": {"key": "AAAA"}}`, "not the one line"},
		{"an address that is none", `{"network": {"version": 2, "ethernets": {"a": {"addresses": ["10.0.0.1"]}}}}`, "like 10.0.0.2/24"},
		{"a VLAN on nothing", `{"network": {"version": 2, "vlans": {"a": {"id": 5, "link": "eth9"}}}}`, `no link "eth9"`},
		{"a line break into another section", `{"network": {"version": 2, "ethernets": {"a": {"match": {"name": "x\n[Network]"}}}}}`, "more than one line"},
		{"broken JSON", `{"hostname": `, "parsing the kickstart file"},
		{"two documents", `{} {}`, "more text"},
		{"broken YAML", "a: [", "parsing the kickstart file"},
		{"a list", "- a", "parsing the kickstart file"},
		{"nothing", "", "no keys"},
		{"two mistakes at once", `{"a": 1, "b": 2}`, "unknown key \"a\"\nunknown key \"b\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse([]byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v; want an error with %q", c, err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"hostname": "x", "disk": "/dev/sda"}`))
	f.Add([]byte("network: {version: 2, ethernets: {a: {dhcp4: true}}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := Parse(data); err == nil && c == nil {
			t.Error("neither a result nor an error")
		}
	})
}
