package distro

import (
	"os/exec"
	"testing"
)

func TestVersionsKeepDebiansOrder(t *testing.T) {
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Fatal("this test asks the real rpm for its order: install the package rpm")
	}
	rows := []struct{ less, more string }{
		{"1.0~rc1-1", "1.0-1"},
		{"252.38-1~deb12u1", "252.39-1~deb12u2"},
		{"2.36-9+deb12u7", "2.36-9+deb12u14"},
		{"5.2.15-2+b13", "5.2.15-3"},
		{"1.2.13.dfsg-1", "1:1.0-1"},
		{"4.18.0+dfsg-1", "4.18.0+dfsg-1+deb12u1"},
		{"1:9.2p1-2+deb12u9", "2:0-1"},
		{"3.23+nmu1", "3.24"},
		{"6.1.176-1", "6.1.192-2"},
	}
	for _, row := range rows {
		if c := debianCompare(row.less, row.more); c != -1 {
			t.Errorf("Debian's order of %s and %s: got %d", row.less, row.more, c)
		}
		if c := debianCompare(row.more, row.less); c != 1 {
			t.Errorf("Debian's order of %s and %s: got %d", row.more, row.less, c)
		}
		if debianCompare(row.less, row.less) != 0 {
			t.Errorf("%s is not equal to itself", row.less)
		}
		expr := `%{lua:print(rpm.vercmp("` + mapEVR(row.less) + `", "` + mapEVR(row.more) + `"))}`
		out, err := exec.Command("rpm", "--eval", expr).CombinedOutput()
		if err != nil || string(out) != "-1\n\n" && string(out) != "-1\n" {
			t.Errorf("rpm's order of %s and %s: got %q, %v", mapEVR(row.less), mapEVR(row.more), out, err)
		}
	}
}

func TestLinksFollowTheMergedUsr(t *testing.T) {
	rows := []struct{ link, target, want string }{
		{"/lib/x86_64-linux-gnu/libz.so.1", "libz.so.1.2.13", "libz.so.1.2.13"},
		{"/usr/lib/x86_64-linux-gnu/libz.so", "../../../lib/x86_64-linux-gnu/libz.so.1", "libz.so.1"},
		{"/sbin/init", "../lib/systemd/systemd", "../lib/systemd/systemd"},
		{"/usr/bin/x", "/etc/alternatives/x", "/etc/alternatives/x"},
		{"/etc/resolv.conf", "../run/resolv.conf", "../run/resolv.conf"},
		{"/bin/sh", "dash", "dash"},
	}
	for _, row := range rows {
		if got, _ := mergeLink(row.link, row.target); got != row.want {
			t.Errorf("%s -> %s became %q, want %q", row.link, row.target, got, row.want)
		}
	}
}
