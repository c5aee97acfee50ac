package rpmostree

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"photree/cli"
	"photree/compose"
	"photree/compose/treefile"
	"photree/repo"

	"github.com/spf13/cobra"
)

// mkostreerepo holds the options of the command.
type mkostreerepo struct {
	path, treefile string
	custom         bool
}

// NewMkostreerepo returns the command `mkostreerepo`, which Photon has: one
// call makes a repository with a commit, the next adds a commit.
func NewMkostreerepo(env *cli.Env) *cobra.Command {
	var o mkostreerepo
	c := &cobra.Command{
		Use:   "mkostreerepo -r=PATH [-p=TREEFILE] [-c]",
		Short: "Make a repository of commits from RPM packages, or add a commit to it",
		Long: `Makes PATH/repo unless it exists, and composes a commit into it from TREEFILE
or, without one, from PATH/photon-base.json, which is written when it is
missing. Package repositories come from the .repo files in PATH; those of
Photon are written when there are none. Packages are kept in PATH/cache.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.path == "" {
				return cli.UsageError(c, "No repository path specified: -r=PATH is required")
			}
			return o.run(env)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.path, "repopath", "r", "", "Make the repository in `PATH`/repo")
	f.StringVarP(&o.treefile, "jsonfile", "p", "", "Compose `TREEFILE`; it is copied to PATH")
	f.BoolVarP(&o.custom, "customrepo", "c", false, "Use your own .repo files in PATH; ask when there are none")
	return c
}

func (o *mkostreerepo) run(env *cli.Env) error {
	dir, err := filepath.Abs(o.path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tree, err := o.prepareTreefile(dir)
	if err != nil {
		return err
	}
	goOn, err := o.prepareRepos(env, dir)
	if err != nil || !goOn {
		return err
	}
	tf, err := treefile.Load(tree)
	if err != nil {
		return err
	}
	r, err := openOrInit(env, filepath.Join(dir, "repo"))
	if err != nil {
		return err
	}
	defer r.Close()
	res, err := compose.Compose(env.Ctx, compose.Options{
		Treefile: tf, Repo: r, CacheDir: filepath.Join(dir, "cache"), Log: newComposeLog(env),
	})
	if err != nil {
		return err
	}
	if res.Unchanged {
		fmt.Fprintln(env.Stdout, "No apparent changes since previous commit")
	}
	if err := r.UpdateSummary(env.Ctx, repo.SummaryOptions{}); err != nil {
		return err
	}
	refs, err := r.Refs()
	if err != nil {
		return err
	}
	for _, ref := range refs {
		fmt.Fprintf(env.Stdout, "* %s\n    %s\n", ref.Name, ref.ID)
	}
	return nil
}

func openOrInit(env *cli.Env, path string) (*repo.Repo, error) {
	if _, err := os.Stat(filepath.Join(path, "refs")); err == nil {
		fmt.Fprintln(env.Stdout, "Base tree exist, executing new commit..")
		return repo.Open(path)
	}
	fmt.Fprintln(env.Stdout, "Creating base tree..")
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	return repo.Init(path, repo.InitOptions{Mode: repo.ModeArchive})
}

// prepareTreefile gives the treefile to compose: the named one, copied into
// the directory because its .repo files are looked for beside it.
func (o *mkostreerepo) prepareTreefile(dir string) (string, error) {
	base := filepath.Join(dir, "photon-base.json")
	if o.treefile == "" {
		if _, err := os.Stat(base); err == nil {
			return base, nil
		}
		return base, os.WriteFile(base, []byte(defaultTreefile()), 0o644)
	}
	src, err := filepath.Abs(o.treefile)
	if err != nil {
		return "", err
	}
	dst := filepath.Join(dir, filepath.Base(src))
	if src == dst {
		return dst, nil
	}
	data, err := os.ReadFile(src)
	if err != nil {
		return "", fmt.Errorf("reading the treefile: %w", err)
	}
	return dst, os.WriteFile(dst, data, 0o644)
}

// prepareRepos sees to the .repo files. With -c and none there it asks, as
// Photon's script does; without a terminal the answer is in the error.
func (o *mkostreerepo) prepareRepos(env *cli.Env, dir string) (goOn bool, err error) {
	have, err := filepath.Glob(filepath.Join(dir, "*.repo"))
	if err != nil {
		return false, err
	}
	if o.custom {
		if len(have) > 0 {
			return true, nil
		}
		fmt.Fprint(env.Stdout, "Do you wish to create your own Repo files in "+dir+" (Y/N)? ")
		line, err := bufio.NewReader(env.Stdin).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			fmt.Fprintf(env.Stdout, "Create your .repo files in %s and run mkostreerepo again\n", dir)
			return false, nil
		case "n", "no":
		default:
			return false, fmt.Errorf("there are no .repo files in %q: write them there, or leave out -c to use Photon's", dir)
		}
	}
	if len(have) > 0 && o.treefile != "" {
		return true, nil // the treefile comes with its own
	}
	for _, id := range []string{"photon", "photon-updates", "photon-extras"} {
		name := filepath.Join(dir, id+".repo")
		if _, err := os.Stat(name); err == nil {
			continue
		}
		if err := os.WriteFile(name, []byte(photonRepo(id)), 0o644); err != nil {
			return false, err
		}
	}
	return true, nil
}

// photonRepo is one of the .repo files that a Photon host has. Its packages are
// signed with the second key since 2024; both keys are files of photon-repos.
func photonRepo(id string) string {
	path := map[string]string{"photon": "photon_release_$releasever_$basearch", "photon-updates": "photon_updates_$releasever_$basearch", "photon-extras": "photon_extras_$releasever_$basearch"}[id]
	return "[" + id + "]\nname=VMware Photon Linux " + strings.TrimPrefix(id, "photon-") + " $releasever ($basearch)\n" +
		"baseurl=https://packages.vmware.com/photon/$releasever/" + path + "\n" +
		"gpgkey=file:///etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY file:///etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY-4096\ngpgcheck=1\nenabled=1\nskip_if_unavailable=True\n"
}

// defaultTreefile is Photon's own list for release 5.0.
func defaultTreefile() string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return strings.ReplaceAll(photonBase, "ARCH", arch)
}

const photonBase = `{
    "comment": "Photon Minimal OSTree",
    "osname": "photon",
    "releasever": "5.0",
    "ref": "photon/5.0/ARCH/minimal",
    "automatic_version_prefix": "5.0_minimal",
    "repos": ["photon", "photon-updates", "photon-extras"],
    "selinux": false,
    "initramfs-args": ["--no-hostonly"],
    "bootstrap_packages": ["filesystem"],
    "documentation": false,
    "tmp-is-dir": true,
    "packages": ["bash", "bc", "bridge-utils", "bzip2", "ca-certificates",
        "cloud-init", "cpio", "cracklib-dicts", "dbus", "e2fsprogs", "file",
        "findutils", "gdbm", "grep", "gzip", "iana-etc", "iptables",
        "iproute2", "iputils", "libtool", "linux", "motd", "net-tools",
        "pkg-config", "photon-release", "photon-repos", "procps-ng", "rpm",
        "sed", "sudo", "tzdata", "util-linux", "vim", "which",
        "dracut-tools", "rpm-ostree", "nss-altfiles", "openssh", "systemd",
        "systemd-udev", "openssl", "grub2", "grub2-efi", "grub2-efi-image",
        "shadow", "ncurses", "grub2-theme-ostree", "selinux-policy"],
    "packages-x86_64": ["grub2-pc", "open-vm-tools"],
    "units": ["sshd-keygen.service", "sshd.service"]
}
`
