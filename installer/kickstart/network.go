package kickstart

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// readNetwork turns the "network" object, in the netplan-like version 2 or in
// the older form, into configuration of systemd-networkd.
func (c *Config) readNetwork(r *reader, o object) {
	c.Network = map[string]string{}
	if name := o.text("hostname"); c.Hostname == "" {
		c.Hostname = name
	}
	if o.has("version") || o.has("ethernets") || o.has("vlans") {
		c.readNetwork2(r, o)
	} else {
		c.readNetwork1(r, o)
	}
	o.finish()
}

var linkID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,15}$`)

// readLinks calls read for each link of a table, in the order of their names.
func readLinks(r *reader, o object, table string, read func(id string, link object)) {
	links, ok := o.object(table)
	if !ok {
		return
	}
	var ids []string
	for id := range links.m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if !linkID.MatchString(id) {
			r.errorf("key %q is not a name for a network link", links.path+id)
		}
		if link, ok := links.object(id); ok {
			read(id, link)
		}
	}
}

func (c *Config) readNetwork2(r *reader, o object) {
	if v := o.scalar("version"); v != "2" {
		r.errorf(`key "network.version": want 2, got %q`, v)
	}
	vlans := map[string][]string{} // lower link -> VLANs on it
	type vlan struct{ id, body string }
	var upper []vlan
	readLinks(r, o, "vlans", func(id string, link object) {
		tag, set := link.number("id")
		if !set || tag < 1 || tag > 4094 {
			r.errorf("key %q: a VLAN id is between 1 and 4094", link.path+"id")
		}
		lower := link.text("link")
		vlans[lower] = append(vlans[lower], id)
		c.Network["40-"+id+".netdev"] = fmt.Sprintf("[NetDev]\nName=%s\nKind=vlan\n\n[VLAN]\nId=%d\n", id, tag)
		upper = append(upper, vlan{id, "[Match]\nName=" + id + "\n\n" + readAddressing(r, link, nil)})
	})
	readLinks(r, o, "ethernets", func(id string, link object) {
		match := "[Match]\n"
		if m, ok := link.object("match"); ok {
			if name := m.text("name"); name != "" {
				match += "Name=" + clean(r, m.path, name) + "\n"
			}
			if mac := m.text("macaddress"); mac != "" {
				if _, err := net.ParseMAC(mac); err != nil {
					r.errorf("key %q: %v", m.path+"macaddress", err)
				}
				match += "MACAddress=" + mac + "\n"
			}
			m.finish()
		} else {
			match += "Name=" + id + "\n"
		}
		c.Network["50-"+id+".network"] = match + "\n" + readAddressing(r, link, vlans[id])
		delete(vlans, id)
	})
	for _, v := range upper {
		c.Network["50-"+v.id+".network"] = v.body
	}
	for lower, ids := range vlans {
		r.errorf("key %q: there is no link %q", "network.vlans."+ids[0]+".link", lower)
	}
}

// readAddressing makes the [Network] section of one link.
func readAddressing(r *reader, o object, vlans []string) string {
	var b strings.Builder
	b.WriteString("[Network]\n")
	dhcp4, _ := o.boolean("dhcp4")
	dhcp6, _ := o.boolean("dhcp6")
	fmt.Fprintf(&b, "DHCP=%s\n", map[[2]bool]string{{false, false}: "no", {true, false}: "ipv4", {false, true}: "ipv6", {true, true}: "yes"}[[2]bool{dhcp4, dhcp6}])
	if accept, set := o.boolean("accept-ra"); set {
		fmt.Fprintf(&b, "IPv6AcceptRA=%s\n", map[bool]string{true: "yes", false: "no"}[accept])
	}
	for _, a := range o.texts("addresses") {
		if _, err := netip.ParsePrefix(a); err != nil {
			r.errorf("key %q: %q is not an address with the length of its network, like 10.0.0.2/24", o.path+"addresses", a)
		}
		b.WriteString("Address=" + a + "\n")
	}
	if gateway := o.text("gateway"); gateway != "" {
		b.WriteString("Gateway=" + address(r, o.path+"gateway", gateway) + "\n")
	}
	if ns, ok := o.object("nameservers"); ok {
		for _, a := range ns.texts("addresses") {
			b.WriteString("DNS=" + address(r, ns.path+"addresses", a) + "\n")
		}
		if search := ns.texts("search"); len(search) > 0 {
			b.WriteString("Domains=" + clean(r, ns.path+"search", strings.Join(search, " ")) + "\n")
		}
		ns.finish()
	}
	for _, id := range vlans {
		b.WriteString("VLAN=" + id + "\n")
	}
	o.finish()
	return b.String()
}

// readNetwork1 reads {type: dhcp|static|vlan, ip_addr, netmask, ...}.
func (c *Config) readNetwork1(r *reader, o object) {
	kind := o.oneOf("type", "dhcp", "static", "vlan")
	body := "[Network]\n"
	switch kind {
	case "static":
		ip, mask := o.text("ip_addr"), o.text("netmask")
		m := net.ParseIP(mask).To4()
		ones, bits := net.IPMask(m).Size()
		if bits == 0 {
			r.errorf(`key "network.netmask": %q is not a netmask`, mask)
		}
		body += "DHCP=no\nAddress=" + address(r, "network.ip_addr", ip) + "/" + strconv.Itoa(ones) + "\n"
		if gateway := o.text("gateway"); gateway != "" {
			body += "Gateway=" + address(r, "network.gateway", gateway) + "\n"
		}
		for _, dns := range strings.FieldsFunc(o.text("nameserver"), func(r rune) bool { return r == ',' || r == ' ' }) {
			body += "DNS=" + address(r, "network.nameserver", dns) + "\n"
		}
	case "vlan":
		id, err := strconv.Atoi(o.scalar("vlan_id"))
		if err != nil || id < 1 || id > 4094 {
			r.errorf(`key "network.vlan_id": a VLAN id is between 1 and 4094`)
		}
		name := fmt.Sprintf("vlan%d", id)
		c.Network["40-"+name+".netdev"] = fmt.Sprintf("[NetDev]\nName=%s\nKind=vlan\n\n[VLAN]\nId=%d\n", name, id)
		c.Network["50-"+name+".network"] = "[Match]\nName=" + name + "\n\n[Network]\nDHCP=yes\n"
		body += "DHCP=no\nVLAN=" + name + "\n"
	default:
		body += "DHCP=yes\n"
	}
	c.Network["50-ethernet.network"] = "[Match]\nName=e*\n\n" + body
}

func address(r *reader, key, s string) string {
	if _, err := netip.ParseAddr(s); err != nil {
		r.errorf("key %q: %q is not an IP address", key, s)
	}
	return s
}

// clean keeps a value from becoming more than one line of a unit file.
func clean(r *reader, key, s string) string {
	if strings.ContainsAny(s, "\n\r") {
		r.errorf("key %q has more than one line", strings.TrimSuffix(key, "."))
	}
	return s
}
