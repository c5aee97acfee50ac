package installer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"photree/deploy"
	"photree/grub"
	"photree/installer/disk"
	"photree/installer/fat"
	"photree/internal/durable"
	"photree/internal/kargs"
	"photree/repo"
	"photree/repo/pull"
)

// installation is one run of Install: its methods are the steps.
type installation struct {
	o      Options
	work   string
	source *source
	target *disk.Target
	layout *disk.Layout
	tools  *tools
	images grub.Images
	mounts disk.Mounts
	root   string   // where the root file system is mounted
	inVar  []string // what else is mounted, below /var
	result Result
}

// checks come before the first write to the disk, so that what can be known
// to fail leaves it as it is; writes make the machine.
var (
	checks = []step{
		{"Checking the settings", (*installation).checkOptions},
		{"Opening the disk", (*installation).openDisk},
		{"Reading the source", (*installation).openSource},
		{"Planning the partitions", (*installation).plan},
		{"Finding tools", (*installation).findTools},
		{"Building the GRUB images", (*installation).buildImages},
	}
	writes = []step{
		{"Partitioning the disk", (*installation).partition},
		{"Making the file systems", (*installation).format},
		{"Preparing the sysroot", (*installation).prepareSysroot},
		{"Copying the commit", (*installation).pull},
		{"Deploying", (*installation).deploy},
		{"Installing GRUB", (*installation).installGrub},
		{"Writing everything out", (*installation).sync},
	}
)

type step struct {
	name string
	run  func(*installation, context.Context) error
}

func install(ctx context.Context, o Options) (_ Result, err error) {
	started := time.Now()
	work, err := os.MkdirTemp(o.WorkDir, "photree-install-")
	if err != nil {
		return Result{}, err
	}
	in := &installation{o: o, work: work}
	defer func() {
		err = errors.Join(err, in.close(err != nil))
		in.result.Duration = time.Since(started)
	}()
	for _, s := range append(append([]step{}, checks...), writes...) {
		if err := ctx.Err(); err != nil {
			return Result{}, fmt.Errorf("installing: %w", err)
		}
		if o.Progress != nil {
			o.Progress(s.name)
		}
		if err := s.run(in, ctx); err != nil {
			return Result{}, err
		}
	}
	in.result.Duration = time.Since(started)
	return in.result, nil
}

// close takes everything down again, in the reverse order of its making.
func (in *installation) close(failed bool) error {
	errs := []error{in.mounts.Close()}
	if in.tools != nil {
		errs = append(errs, in.tools.Close())
	}
	if in.target != nil {
		errs = append(errs, in.target.Close())
		if failed {
			in.target.Discard()
		}
	}
	if in.source != nil {
		errs = append(errs, in.source.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return err // something is still mounted below work: removing would follow it
	}
	return os.RemoveAll(in.work)
}

func (in *installation) checkOptions(context.Context) error {
	o := &in.o
	switch {
	case o.Disk == "":
		return errors.New("no disk to install on was named")
	case o.Source == "":
		return errors.New("no repository to install from was named")
	case o.Ref == "":
		return errors.New("no ref to install was named")
	}
	if o.Stateroot == "" {
		o.Stateroot = "photon"
	}
	if o.RemoteName == "" {
		o.RemoteName = "photon"
	}
	if err := deploy.CheckStateroot(o.Stateroot); err != nil {
		return err
	}
	if err := repo.CheckRemoteName(o.RemoteName); err != nil {
		return err
	}
	for _, p := range o.Partitions {
		switch p.Mountpoint {
		case "", "/", "/boot", "/boot/efi":
		default:
			if _, err := varPath(p.Mountpoint); err != nil {
				return err
			}
		}
	}
	if o.Machine.Hostname == "" {
		o.Machine.Hostname = randomHostname()
	}
	return o.Machine.check()
}

func (in *installation) openDisk(context.Context) (err error) {
	in.target, err = disk.Open(in.o.Disk, in.o.Size)
	return err
}

func (in *installation) openSource(ctx context.Context) (err error) {
	if in.source, err = openSource(ctx, in.o.Source, in.o.Ref, in.work); err != nil {
		return err
	}
	if in.o.RemoteURL == "" {
		in.o.RemoteURL = in.source.url
	}
	return nil
}

// plan lays the disk out and sees to it that the commit fits: its files once,
// what ext4 needs for itself, and in /boot a second kernel beside the first,
// or the first upgrade would fail.
func (in *installation) plan(ctx context.Context) (err error) {
	needs := in.o.Footprint
	if needs == (Footprint{}) {
		if needs, err = in.source.measure(ctx); err != nil {
			return err
		}
	}
	in.layout, err = disk.Plan(in.target.Size, in.o.BootMode, in.o.Partitions, in.seed())
	var small *disk.TooSmallError
	if err != nil && !errors.As(err, &small) {
		return err
	}
	const journal = 64 << 20
	rootNeed := needs.Root + needs.Root/20 + journal
	bootNeed := 2*needs.Boot + 16<<20
	if small != nil {
		return fmt.Errorf("the disk %s is too small for %s: %w", in.o.Disk, in.source.ref, &disk.TooSmallError{Have: small.Have, Need: small.Need + rootNeed})
	}
	root, boot := in.layout.Find("/"), in.layout.Find("/boot")
	if root.Size < rootNeed {
		return fmt.Errorf("the disk %s is too small for %s: %w", in.o.Disk, in.source.ref,
			&disk.TooSmallError{Have: in.target.Size, Need: in.target.Size + rootNeed - root.Size})
	}
	if boot.Size < bootNeed {
		return fmt.Errorf("the partition for /boot has %d MiB and %d MiB are needed for two kernels", boot.Size>>20, bootNeed>>20)
	}
	return nil
}

// seed decides the identifiers of the disk where a reproducible one is asked
// for.
func (in *installation) seed() []byte {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return nil
	}
	return fmt.Appendf(nil, "photree install\n%s\n%s\n%s", epoch, in.source.id, in.o.Machine.Hostname)
}

func (in *installation) platforms() (platforms []grub.Platform) {
	if in.o.BootMode.BIOS() {
		platforms = append(platforms, grub.BIOS)
	}
	if in.o.BootMode.EFI() {
		platforms = append(platforms, grub.UEFI)
	}
	return platforms
}

func (in *installation) findTools(context.Context) (err error) {
	in.tools, err = findTools(in.source, in.o.Tools, in.platforms(), in.work)
	return err
}

func (in *installation) buildImages(ctx context.Context) (err error) {
	o := in.tools.imageOptions()
	o.BootUUID, o.Platforms = in.layout.Find("/boot").UUID, in.platforms()
	if in.images, err = grub.BuildImages(ctx, o); err != nil {
		return err
	}
	if bios := in.layout.BIOSBoot(); bios != nil && int64(len(in.images.Core)) > bios.Size {
		return fmt.Errorf("GRUB's core image of %d bytes does not fit the BIOS boot partition", len(in.images.Core))
	}
	return nil
}

func (in *installation) partition(context.Context) error {
	if err := in.target.Create(); err != nil {
		return err
	}
	if err := in.target.WriteTable(in.layout); err != nil {
		return err
	}
	if bios := in.layout.BIOSBoot(); bios != nil {
		if err := grub.EmbedBIOS(in.target, in.images.Boot, in.images.Core, uint64(bios.Start/disk.Sector), uint64(bios.Size/disk.Sector)); err != nil {
			return err
		}
	}
	if esp := in.layout.Find("/boot/efi"); esp != nil {
		files := []fat.File{{Path: "EFI/BOOT/BOOTX64.EFI", Data: in.images.EFI}}
		if err := in.target.WriteESP(esp, files, in.commitTime()); err != nil {
			return err
		}
	}
	for i := range in.layout.Parts {
		if p := &in.layout.Parts[i]; p.Filesystem == "swap" {
			if err := in.target.WriteSwap(p); err != nil {
				return err
			}
		}
	}
	return in.target.Release()
}

func (in *installation) commitTime() time.Time {
	return time.Unix(int64(in.source.commit.Timestamp), 0)
}

func (in *installation) format(ctx context.Context) error {
	for i := range in.layout.Parts {
		p := &in.layout.Parts[i]
		if p.Filesystem != "ext4" {
			continue
		}
		node, err := in.target.Node(p)
		if err != nil {
			return err
		}
		if err := in.tools.run(ctx, p.Mkfs(node)); err != nil {
			return fmt.Errorf("making the file system for %s: %w", p.Mountpoint, err)
		}
		p.Node = node
	}
	return nil
}

func (in *installation) prepareSysroot(ctx context.Context) error {
	in.root = filepath.Join(in.work, "root")
	if err := in.mounts.Mount(in.layout.Find("/").Node, in.root); err != nil {
		return err
	}
	if err := in.mounts.Mount(in.layout.Find("/boot").Node, filepath.Join(in.root, "boot")); err != nil {
		return err
	}
	if in.layout.Find("/boot/efi") != nil {
		if err := os.MkdirAll(filepath.Join(in.root, "boot/efi"), 0o700); err != nil {
			return err
		}
	}
	if err := deploy.InitFS(in.root, deploy.InitFSOptions{Modern: true}); err != nil {
		return err
	}
	sysroot, err := deploy.Open(in.root, deploy.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = sysroot.Close() }()
	if err := in.configure(sysroot.Repo()); err != nil {
		return fmt.Errorf("configuring the repository of the sysroot: %w", err)
	}
	if err := sysroot.InitStateroot(ctx, in.o.Stateroot); err != nil {
		return err
	}
	return in.mountVar(sysroot.VarPath(in.o.Stateroot))
}

// configure tells stock ostree to leave the boot loader alone: it writes boot
// entries, which GRUB's stub reads. It also adds the remote that updates come
// from.
func (in *installation) configure(r *repo.Repo) error {
	config := r.Config()
	config.Set("sysroot", "bootloader", "none")
	if err := r.SetConfig(config); err != nil {
		return err
	}
	if in.o.RemoteURL == "" {
		return nil
	}
	return r.AddRemote(repo.Remote{Name: in.o.RemoteName, Options: []repo.Option{
		{Key: "url", Value: in.o.RemoteURL}, {Key: "gpg-verify", Value: "false"}}}, false)
}

// mountVar mounts what was asked for below /var, so that what the
// installation writes there ends up on those partitions.
func (in *installation) mountVar(varDir string) error {
	nodes := map[string]string{}
	for _, p := range in.layout.Parts {
		switch p.Mountpoint {
		case "", "/", "/boot", "/boot/efi":
			continue
		}
		dir, err := varPath(p.Mountpoint)
		if err != nil {
			return err
		}
		nodes[dir] = p.Node
	}
	for _, dir := range slices.Sorted(maps.Keys(nodes)) { // "." for /var itself, then what is below
		if err := in.mounts.Mount(nodes[dir], filepath.Join(varDir, dir)); err != nil {
			return err
		}
		if dir != "." {
			in.inVar = append(in.inVar, dir)
		}
	}
	return nil
}

func (in *installation) pull(ctx context.Context) error {
	sysroot, err := deploy.Open(in.root, deploy.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = sysroot.Close() }()
	// The repository's own objects are checked against their names on the way:
	// the medium may be bad.
	_, err = pull.Local(ctx, sysroot.Repo(), in.source.repo, pull.Options{
		Remote: in.o.RemoteName, Refs: []string{in.source.ref + "@" + in.source.id.String()}, Untrusted: true})
	if err != nil {
		return fmt.Errorf("copying %s: %w", in.source.ref, err)
	}
	return nil
}

func (in *installation) deploy(ctx context.Context) error {
	sysroot, err := deploy.Open(in.root, deploy.Options{Bootloader: grub.Bootloader{}})
	if err != nil {
		return err
	}
	defer func() { _ = sysroot.Close() }()
	// rw: systemd-remount-fs would do it anyway, and /etc has to be writable
	// before that.
	arguments := append([]string{"root=UUID=" + in.layout.Find("/").UUID, "rw"}, in.o.Kargs...)
	done, err := sysroot.Deploy(ctx, deploy.DeployOptions{
		Stateroot: in.o.Stateroot,
		Commit:    in.source.id,
		Origin:    deploy.NewOrigin(in.o.RemoteName + ":" + in.source.ref),
		Kargs:     kargs.FromStrings(arguments),
		NoPrune:   true,
		Customize: func(ctx context.Context, dir string) error {
			return in.customize(ctx, dir, sysroot.VarPath(in.o.Stateroot))
		},
	})
	if err != nil {
		return err
	}
	in.result = Result{Commit: in.source.id.String(), Version: in.source.version, Stateroot: in.o.Stateroot,
		RootUUID: in.layout.Find("/").UUID, BootUUID: in.layout.Find("/boot").UUID,
		Deployment: sysroot.RelPath(done.Deployment), Hostname: in.o.Machine.Hostname}
	return nil
}

// customize runs before anything names the deployment: an error leaves a disk
// that boots nothing rather than one that boots half of what was asked for.
func (in *installation) customize(ctx context.Context, dir, varDir string) error {
	s := &settings{machine: in.o.Machine, layout: in.layout, dir: dir, varDir: varDir}
	if err := s.write(); err != nil {
		return err
	}
	binds := [][2]string{{varDir, "var"}, {filepath.Join(in.root, "boot"), "boot"}, {"/dev", "dev"}}
	for _, sub := range in.inVar {
		binds = append(binds, [2]string{filepath.Join(varDir, sub), filepath.Join("var", sub)})
	}
	return runScripts(ctx, in.o.Machine.PostInstall, dir, binds, in.work)
}

func (in *installation) installGrub(context.Context) error {
	return grub.InstallFiles(grub.InstallOptions{BootDir: filepath.Join(in.root, "boot"), ModuleDir: in.tools.modules,
		BootUUID: in.layout.Find("/boot").UUID, Platforms: in.platforms()})
}

// sync unmounts here and not in close: an error while the disk is written out
// is an error of the installation.
func (in *installation) sync(context.Context) error {
	for _, dir := range []string{in.root, filepath.Join(in.root, "boot")} {
		if err := in.mounts.Sync(dir); err != nil {
			return err
		}
	}
	if err := in.mounts.Close(); err != nil {
		return err
	}
	if err := in.target.Close(); err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(in.o.Disk)
	if err == nil {
		err = durable.SyncFile(path)
	}
	if err != nil {
		return fmt.Errorf("writing %s out: %w", in.o.Disk, err)
	}
	return nil
}

// ParseSize reads a size like 8G, 2048M or 8589934592.
func ParseSize(s string) (int64, error) {
	units := map[byte]int64{'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}
	number, unit := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s), "B"), "I"), int64(1)
	if n := len(number); n > 0 && units[number[n-1]] != 0 {
		number, unit = number[:n-1], units[number[n-1]]
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 || n > (1<<60)/unit {
		return 0, fmt.Errorf("%q is not a size like 8G or 2048M", s)
	}
	return n * unit, nil
}
