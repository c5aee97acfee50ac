package compose

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// Accounts that change under files of hosts end a compose, where the treefile
// does not say otherwise.
func TestCheckAccounts(t *testing.T) {
	s := newServer(t)
	pkg := func(uid int) {
		buildRPM(t, s.rpms(), "svc", fmt.Sprintf("%%pre\necho svc:x:%d:%d::/:/bin/sh >> /etc/passwd\necho svc:x:%d: >> /etc/group\n"+
			"%%install\nmkdir -p %%{buildroot}/usr/svc\n%%files\n%%attr(0755,svc,svc) %%dir /usr/svc\n", uid, uid, uid))
		s.publish()
	}
	treefile := func(more string, packages ...string) {
		s.write("tree.json", fmt.Sprintf(`{"ref": %q, "repos": ["test"], "selinux": false, "no-initramfs": true, %s "packages": ["%s"]}`,
			ref, more, strings.Join(packages, `", "`)))
	}
	refuse := func(what, want string) {
		t.Helper()
		before := s.snapshot()
		if _, _, err := s.compose(context.Background(), Options{}); err == nil || !strings.Contains(err.Error(), want) || s.snapshot() != before {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	pkg(501)
	treefile(`"check-passwd": {"type": "data", "entries": {"svc": [501, 501]}}, "check-groups": {"type": "data", "entries": {"svc": 501}},`, "base", "svc")
	s.mustCompose(Options{})
	treefile(`"check-passwd": {"type": "data", "entries": {"svc": [501, 77]}},`, "base", "svc")
	refuse("other gid", `check-passwd: user "svc" has the gid 501 and must have 77`)
	s.write("group", "root:x:0:\nsvc:x:78:\n")
	treefile(`"check-groups": {"type": "file", "filename": "group"},`, "base", "svc")
	refuse("other group", `check-groups: group "svc" has the gid 501 and must have 78`)
	treefile(`"preserve-passwd": false, "check-passwd": {"type": "data", "entries": {"other": 501}},`, "base", "svc")
	refuse("missing user with files", `user "other" is missing and "/usr/svc" belongs to its id 501`)
	treefile(`"preserve-passwd": false, "check-passwd": {"type": "data", "entries": {"other": 501}}, "ignore-removed-users": ["other"],`, "base", "svc")
	s.mustCompose(Options{})
	treefile("", "base")
	if _, log := s.mustCompose(Options{}); !strings.Contains(strings.Join(log.notes, "\n"), "The user svc is no more") {
		t.Errorf("notes: %q", log.notes)
	}
	// An id that a package itself gives anew.
	treefile("", "base", "svc")
	s.mustCompose(Options{})
	pkg(502)
	treefile(`"preserve-passwd": false, "check-groups": {"type": "none"}, "check-passwd": {"type": "previous"},`, "base", "svc")
	refuse("other than before", `check-passwd: user "svc" has the uid 502 and must have 501`)
	treefile(`"preserve-passwd": false,`, "base", "svc")
	s.mustCompose(Options{})
}
