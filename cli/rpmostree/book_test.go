package rpmostree_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var day1 = time.Date(2021, 2, 20, 7, 15, 43, 0, time.UTC)

// TestHostUpdating follows the chapters on a host of the Photon administration
// guide: status, upgrade, rollback, undeploy, rebase, and the words they print.
func TestHostUpdating(t *testing.T) {
	m := newMachine(t)
	one := m.release("4.0_minimal", 0, pkg{"curl", "7.1-1.ph4"}, pkg{"glibc", "2.32-1.ph4"}, pkg{"nano", "5.0-1.ph4"}).String()
	m.install()

	m.expect(0, "State: idle\nDeployments:\n● ostree://photon:"+branch+"\n"+
		"                   Version: 4.0_minimal (2021-02-20T07:15:43Z)\n"+
		"                    Commit: "+one+"\n", "rpm-ostree", "status")
	m.expect(0, "* photon "+one+".0\n    Version: 4.0_minimal\n    origin refspec: photon:"+branch+"\n", "ostree", "admin", "status")
	m.expect(0, "/ostree/deploy/photon/deploy/"+one+".0\n", "ostree", "admin", "config-diff", "--print-current-dir")
	m.expect(0, "ostree commit: "+branch+" ("+one+")\n curl-7.1-1.ph4.x86_64\n glibc-2.32-1.ph4.x86_64\n nano-5.0-1.ph4.x86_64\n",
		"rpm-ostree", "db", "list", branch)
	m.expect(0, "Updating from: photon:"+branch+"\n\nNNN metadata, NNN content objects fetched; ...\nNo upgrade available.\n", "rpm-ostree", "upgrade")
	m.expect(77, "Updating from: ...\nNo updates available.\n", "rpm-ostree", "upgrade", "--check")
	m.expect(77, "...", "rpm-ostree", "upgrade", "--unchanged-exit-77")
	m.expect(1, "error: Found 1 deployments, at least 2 required for rollback\n", "rpm-ostree", "rollback")
	m.expect(1, "error: Cannot undeploy currently booted deployment 0\n", "ostree", "admin", "undeploy", "0")

	m.write("etc/hosts", "10.0.0.1 mine\n")
	m.write("etc/own", "own\n")
	if err := os.Remove(filepath.Join(m.booted, "etc/removed.conf")); err != nil {
		t.Fatal(err)
	}
	m.expect(0, "M    hosts\nD    removed.conf\nA    own\n", "ostree", "admin", "config-diff")

	two := m.release("4.0_minimal.1", 1, pkg{"curl", "7.2-1.ph4"}, pkg{"glibc", "2.31-1.ph4"}, pkg{"wget", "1.20-1.ph4"}).String()
	m.expect(0, "Updating from: ...\n\n1 metadata, 0 content objects fetched; ...\n!curl-7.1-1.ph4.x86_64\n=curl-7.2-1.ph4.x86_64\n"+
		"!glibc-2.32-1.ph4.x86_64\n=glibc-2.31-1.ph4.x86_64\n-nano-5.0-1.ph4.x86_64\n+wget-1.20-1.ph4.x86_64\n", "rpm-ostree", "upgrade", "--check-diff")
	m.expect(0, "...AvailableUpdate:\n                   Version: 4.0_minimal.1 (2021-02-21T07:15:43Z)\n                    Commit: "+two+
		"\n                      Diff: 1 upgraded, 1 downgraded, 1 removed, 1 added\n", "rpm-ostree", "upgrade", "--check")
	const packages = "Upgraded:\n  curl 7.1-1.ph4 -> 7.2-1.ph4\nDowngraded:\n  glibc 2.32-1.ph4 -> 2.31-1.ph4\n" +
		"Removed:\n  nano-5.0-1.ph4.x86_64\nAdded:\n  wget-1.20-1.ph4.x86_64\n"
	m.expect(0, "Updating from: photon:"+branch+"\n\nNNN metadata, NNN content objects fetched; ...\n"+
		"Copying /etc changes: 1 modified, 1 removed, 1 added\n"+
		"Transaction complete; bootconfig swap: yes; deployment count change: 1\n"+packages+
		"Run \"systemctl reboot\" to start a reboot\n", "rpm-ostree", "upgrade")
	m.expect(0, "...No upgrade available.\n", "rpm-ostree", "upgrade")
	m.expect(0, "State: idle\nDeployments:\n  ostree://photon:"+branch+"\n"+
		"                   Version: 4.0_minimal.1 (2021-02-21T07:15:43Z)\n                    Commit: "+two+"\n"+
		"                      Diff: 1 upgraded, 1 downgraded, 1 removed, 1 added\n\n"+
		"● ostree://photon:"+branch+"\n                   Version: 4.0_minimal (2021-02-20T07:15:43Z)\n                    Commit: "+one+"\n",
		"rpm-ostree", "status")
	m.expect(77, "...", "rpm-ostree", "status", "--pending-exit-77")
	m.expect(0, "  photon "+two+".0 (pending)\n...* photon "+one+".0\n...", "ostree", "admin", "status")
	m.expect(0, "[\n  \""+two+"\",\n  \""+one+"\"\n]\n", "rpm-ostree", "status", "-J", "$.deployments[*].checksum")
	m.boot()

	if data, err := os.ReadFile(filepath.Join(m.booted, "etc/hosts")); string(data) != "10.0.0.1 mine\n" {
		t.Errorf("/etc/hosts of the new deployment is %q, %v", data, err)
	}
	m.expect(0, "ostree diff commit from: rollback deployment ("+one+")\nostree diff commit to:   booted deployment ("+two+")\n"+packages,
		"rpm-ostree", "db", "diff")
	m.expect(0, "ostree diff commit from: "+one[:4]+" ("+one+")\nostree diff commit to:   "+two[:4]+" ("+two+")\n"+packages,
		"rpm-ostree", "db", "diff", one[:4], two[:4])
	m.expect(1, "error: Refspec 'ffff' not found\n", "rpm-ostree", "db", "diff", "ffff", two)
	m.expect(0, "Moving '"+one+".0' to be first deployment\nTransaction complete; bootconfig swap: yes; deployment count change: 0\n"+
		"Upgraded:\n  glibc ...Run \"systemctl reboot\" to start a reboot\n", "rpm-ostree", "rollback")
	m.expect(0, "Moving '"+two+".0' to be first deployment\n...", "rpm-ostree", "rollback")
	m.expect(0, "Deployment 0 is now pinned\n", "ostree", "admin", "pin", "0")
	m.expect(0, "Transaction complete; bootconfig swap: yes; bootversion: boot.NNN, deployment count change: -1\n...Deleted deployment "+one+".0\n",
		"ostree", "admin", "undeploy", "-v", "1")
	m.expect(1, "error: Found 1 deployments, at least 2 required for rollback\n", "rpm-ostree", "rollback")
}

func TestKargsRebaseAndDeploy(t *testing.T) {
	m := newMachine(t)
	one := m.release("1", 0, pkg{"a", "1-1"}).String()
	m.install()
	m.expect(0, "root=LABEL=x\n", "rpm-ostree", "kargs")
	m.expect(0, "...Kernel arguments updated.\nRun \"systemctl reboot\" to start a reboot\n", "rpm-ostree", "kargs", "--append=quiet", "--append=a=\"b c\"")
	m.expect(0, "root=LABEL=x quiet a=\"b c\"\n", "rpm-ostree", "kargs")
	m.expect(77, "No changes.\n", "rpm-ostree", "kargs", "--append-if-missing=quiet", "--unchanged-exit-77")
	m.expect(1, "error: no kernel argument \"nope\" is set\n", "rpm-ostree", "kargs", "--delete=nope")
	m.expect(0, "...", "rpm-ostree", "kargs", "--delete=quiet", "--replace=a=d")
	m.expect(0, "root=LABEL=x a=d\n", "rpm-ostree", "kargs")
	m.boot()

	two := m.release("2", 5, pkg{"a", "2-1"}).String()
	three := m.release("3", 2, pkg{"a", "3-1"}).String()
	m.expect(0, "...", "rpm-ostree", "deploy", two)
	m.expect(1, "...error: Upgrade target revision '"+three+"' with timestamp 'Mon Feb 22 07:15:43 2021' is chronologically older than current revision '"+
		two+"' with timestamp 'Thu Feb 25 07:15:43 2021'; use --allow-downgrade to permit\n", "rpm-ostree", "upgrade")
	m.expect(0, "...", "rpm-ostree", "upgrade", "--allow-downgrade")
	m.boot()
	m.expect(0, "...Downgraded:\n  a 3-1 -> 1-1\n...", "rpm-ostree", "deploy", "version=1")
	m.expect(1, "...error: version \"9\" was not found on branch photon:"+branch+"...", "rpm-ostree", "deploy", "9")
	m.expect(0, "...  photon "+one+"...", "ostree", "admin", "status")

	m.run("ostree", "remote", "add", "--no-gpg-verify", "photon-2", m.url)
	m.expect(0, "Rebasing to photon-2:"+branch+"\n...Deleting ref 'photon:"+branch+"'\n...", "rpm-ostree", "rebase", "photon-2:"+branch)
	if refs := m.run("ostree", "refs"); strings.Contains(refs, "photon:"+branch) || !strings.Contains(refs, "photon-2:"+branch) {
		t.Errorf("refs are\n%s", refs)
	}
	m.expect(1, "Rebasing to photon-2:no/such/branch\nerror: ...no/such/branch...", "rpm-ostree", "rebase", "no/such/branch")
	m.expect(0, "...origin refspec: photon-2:"+branch+"\n...", "ostree", "admin", "status")
	m.expect(0, "...", "rpm-ostree", "cleanup", "-p")
	m.expect(0, "Deployments unchanged.\n", "rpm-ostree", "cleanup", "-p")
	m.expect(0, "...", "ostree", "admin", "set-origin", "--set=gpg-verify=false", "photon", m.url, branch)
	m.expect(0, "...origin refspec: photon:"+branch+"\n...", "ostree", "admin", "status")
	m.expect(0, "...", "ostree", "admin", "instutil", "set-kargs", "--merge", "debug")
	m.expect(0, "root=LABEL=x a=d debug\n", "rpm-ostree", "kargs", "--deploy-index=0")
	m.expect(0, "...", "ostree", "admin", "kargs", "edit-in-place", "--append-if-missing=debug", "--delete=a")
	m.expect(0, "root=LABEL=x debug\n", "rpm-ostree", "kargs", "--deploy-index=0")
	m.host("ostree", "--repo="+m.path("ostree/repo"), "fsck", "-q")
	m.host("ostree", "admin", "status", "--sysroot="+m.dir)
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.booted, name), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}
