package installer

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"photree/grub"
	"photree/initramfs"
	"photree/installer/fat"
	"photree/installer/iso"
	"photree/installer/kickstart"
	"photree/internal/durable"
	"photree/repo"
	"photree/repo/pull"
	"photree/repo/tree"
)

// LiveCommand is what PID 1 runs on the ISO instead of a system.
const LiveCommand = "/usr/bin/photree install --iso-live"

// isoBuild is one run of WriteISO.
type isoBuild struct {
	o      ISOOptions
	work   string
	source *source
	tools  *tools
	time   time.Time
	files  []iso.File
	image  iso.Options
	result ISOResult
}

var isoSteps = []struct {
	name string
	run  func(*isoBuild, context.Context) error
}{
	{"Reading the source", (*isoBuild).open},
	{"Finding tools", (*isoBuild).findTools},
	{"Copying the commit", (*isoBuild).addRepo},
	{"Building the initramfs", (*isoBuild).addKernel},
	{"Building the GRUB images", (*isoBuild).addBoot},
	{"Writing the image", (*isoBuild).write},
}

func writeISO(ctx context.Context, o ISOOptions) (_ ISOResult, err error) {
	started := time.Now()
	work, err := os.MkdirTemp(o.WorkDir, "photree-iso-")
	if err != nil {
		return ISOResult{}, err
	}
	b := &isoBuild{o: o, work: work}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, s := range isoSteps {
		if err := ctx.Err(); err != nil {
			return ISOResult{}, fmt.Errorf("making an ISO: %w", err)
		}
		if o.Progress != nil {
			o.Progress(s.name)
		}
		if err := s.run(b, ctx); err != nil {
			return ISOResult{}, err
		}
	}
	b.result.Duration = time.Since(started)
	return b.result, nil
}

func (b *isoBuild) close() error {
	var errs []error
	if b.tools != nil {
		errs = append(errs, b.tools.Close())
	}
	if b.source != nil {
		errs = append(errs, b.source.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(b.work)
}

// open checks all that can be known to be wrong before the work begins.
func (b *isoBuild) open(ctx context.Context) (err error) {
	if b.o.Repo == "" || b.o.Ref == "" || b.o.Output == "" {
		return errors.New("making an ISO: the repository, the ref and the name of the image are needed")
	}
	if b.o.VolumeID == "" {
		b.o.VolumeID = "PHOTREE"
	}
	if b.o.Kickstart != "" {
		data, err := os.ReadFile(b.o.Kickstart)
		if err != nil {
			return fmt.Errorf("reading the kickstart file: %w", err)
		}
		if _, err := kickstart.Parse(data); err != nil {
			return fmt.Errorf("%s: %w", b.o.Kickstart, err)
		}
		b.files = append(b.files, iso.File{Path: b.kickstartName(), Data: data})
	}
	if b.o.Photree == "" {
		if b.o.Photree, err = os.Executable(); err != nil {
			return err
		}
	}
	if err := checkStatic(b.o.Photree); err != nil {
		return err
	}
	if b.source, err = openSource(ctx, b.o.Repo, b.o.Ref, b.work); err != nil {
		return err
	}
	b.result.Commit = b.source.id.String()
	b.time, err = b.timestamp()
	return err
}

func (b *isoBuild) kickstartName() string {
	switch ext := filepath.Ext(b.o.Kickstart); ext {
	case ".yaml", ".yml":
		return "ks.yaml"
	}
	return "ks.json"
}

func checkStatic(program string) error {
	f, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("reading the photree program %s: %w", program, err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("the photree program %s is not static: build it with CGO_ENABLED=0", program)
		}
	}
	return nil
}

// timestamp is the image's time, which is its UUID as well: that of the
// commit, and two digits out of the commit's name where hundredths of a
// second stand.
func (b *isoBuild) timestamp() (time.Time, error) {
	seconds := int64(b.source.commit.Timestamp)
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		n, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%s is not a number of seconds", epoch)
		}
		seconds = n
	}
	return time.Unix(seconds, int64(b.source.id[0]%100)*1e7).UTC(), nil
}

func (b *isoBuild) platforms() []grub.Platform { return []grub.Platform{grub.BIOS, grub.UEFI} }

func (b *isoBuild) findTools(context.Context) error {
	b.tools = &tools{programs: map[string]tool{}, dir: filepath.Join(b.work, "tools")}
	if err := os.MkdirAll(filepath.Join(b.tools.dir, "tmp"), 0o755); err != nil {
		return err
	}
	// What the installer will take out of the commit is looked for now, not
	// when the machine to be installed has been booted.
	check := &tools{programs: map[string]tool{}, dir: filepath.Join(b.work, "check")}
	if err := errors.Join(check.add(b.source, ToolsFromTree, mkfsProgram, nil), check.add(b.source, ToolsFromTree, grubProgram, b.platforms())); err != nil {
		return fmt.Errorf("the installer on the ISO could not run: %w", err)
	}
	return b.tools.add(b.source, b.o.Tools, grubProgram, b.platforms())
}

// addRepo puts an archive repository with the ref and nothing else on the
// image.
func (b *isoBuild) addRepo(ctx context.Context) error {
	dir := filepath.Join(b.work, "repo")
	r, err := repo.Init(dir, repo.InitOptions{Mode: repo.ModeArchive})
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := pull.Local(ctx, r, b.source.repo, pull.Options{Refs: []string{b.source.ref}}); err != nil {
		return fmt.Errorf("copying %s for the image: %w", b.source.ref, err)
	}
	files, err := iso.Dir(dir, "repo")
	if err != nil {
		return err
	}
	needs, err := b.source.measure(ctx)
	if err != nil {
		return err
	}
	data, err := json.Marshal(needs)
	b.files = append(append(b.files, files...), iso.File{Path: footprintFile, Data: data})
	return err
}

// addKernel takes the tree's kernel, and builds an initramfs that runs the
// installer.
func (b *isoBuild) addKernel(ctx context.Context) error {
	root := filepath.Join(b.work, "tree")
	const modules = "usr/lib/modules"
	if err := os.MkdirAll(filepath.Join(root, "usr/lib"), 0o755); err != nil {
		return err
	}
	err := tree.Checkout(ctx, b.source.repo, b.source.id, filepath.Join(root, modules), tree.CheckoutOptions{Subpath: "/" + modules, UserMode: true})
	if err != nil {
		return fmt.Errorf("taking the kernel out of the commit: %w", err)
	}
	command := filepath.Join(b.work, "initrd-exec")
	if err := os.WriteFile(command, []byte(LiveCommand+"\n"), 0o644); err != nil {
		return err
	}
	image := filepath.Join(b.work, "initrd.img")
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	stats, err := initramfs.Build(ctx, initramfs.Options{Tree: root, Extra: map[string]string{
		strings.TrimPrefix(strings.Fields(LiveCommand)[0], "/"): b.o.Photree, "etc/photree/initrd-exec": command}}, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("building the installer's initramfs: %w", err)
	}
	b.result.Initramfs = stats.Size
	b.files = append(b.files, iso.File{Path: "boot/initrd.img", Source: image},
		iso.File{Path: "boot/vmlinuz", Source: filepath.Join(root, modules, stats.KVER, "vmlinuz")})
	return nil
}

// isoModules are all that GRUB needs on the image: nothing is loaded later.
var isoModules = []string{"iso9660", "part_gpt", "part_msdos", "fat", "search", "search_fs_uuid", "normal", "configfile", "linux", "test", "echo",
	"serial", "terminal", "minicmd", "ls", "cat", "help", "halt", "reboot"}

func (b *isoBuild) addBoot(ctx context.Context) error {
	bios, err := b.grubImage(ctx, "i386-pc-eltorito", grub.BIOS, "biosdisk")
	if err != nil {
		return err
	}
	efi, err := b.grubImage(ctx, "x86_64-efi", grub.UEFI, "efi_gop", "efi_uga", "efifwsetup")
	if err != nil {
		return err
	}
	b.image.BIOS = bios
	if b.image.MBR, err = os.ReadFile(filepath.Join(b.tools.modules, string(grub.BIOS), "boot_hybrid.img")); err != nil {
		return err
	}
	esp := &memory{make([]byte, max(4<<20, (len(efi)*5/4+1<<20)>>20<<20))}
	o := fat.Options{Size: int64(len(esp.b)), Label: "EFIBOOT", ID: uint32(b.time.Unix()), Time: b.time}
	if err := fat.Write(esp, o, []fat.File{{Path: "EFI/BOOT/BOOTX64.EFI", Data: efi}}); err != nil {
		return err
	}
	b.image.EFI = esp.b
	b.files = append(b.files, iso.File{Path: "boot/grub/grub.cfg", Data: b.menu()})
	return nil
}

// memory is an image that is small enough to hold.
type memory struct{ b []byte }

func (m *memory) WriteAt(p []byte, off int64) (int, error) { return copy(m.b[off:], p), nil }

func (b *isoBuild) grubImage(ctx context.Context, format string, p grub.Platform, modules ...string) ([]byte, error) {
	o := b.tools.imageOptions()
	file := func(name string) (seen, real string) {
		seen = filepath.Join(o.WorkDir, name)
		return seen, filepath.Join(o.Root, seen)
	}
	config, realConfig := file("early.cfg")
	image, realImage := file(format)
	early := fmt.Sprintf("search.fs_uuid %s root\nset prefix=($root)/boot/grub\n", iso.UUID(b.time))
	if err := os.WriteFile(realConfig, []byte(early), 0o644); err != nil {
		return nil, err
	}
	argv := []string{"grub-mkimage", "-O", format, "-d", filepath.Join(o.ModuleDir, string(p)), "-p", "/boot/grub", "-c", config, "-o", image}
	if err := b.tools.run(ctx, append(append(argv, isoModules...), modules...)); err != nil {
		return nil, err
	}
	return os.ReadFile(realImage)
}

// menu is the GRUB configuration of the image.
func (b *isoBuild) menu() []byte {
	words := []string{"photree.media=UUID=" + iso.UUID(b.time)}
	if b.o.Kickstart != "" {
		words = append(words, "ks=cdrom:/"+b.kickstartName())
	}
	words = append(words, b.o.Kargs...)
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	title := strings.TrimSpace("Install " + b.source.ref + " " + b.source.version)
	return fmt.Appendf(nil, `if [ "$grub_platform" = pc ]; then
  if serial --unit=0 --speed=115200; then
    terminal_input console serial
    terminal_output console serial
  fi
fi
set default=0
set timeout=2
menuentry '%s' {
  echo 'Loading the installer'
  linux /boot/vmlinuz %s
  initrd /boot/initrd.img
}
`, strings.ReplaceAll(title, "'", ""), strings.Join(quoted, " "))
}

// write makes the image beside its final name: an error leaves no half image.
func (b *isoBuild) write(context.Context) (err error) {
	b.image.VolumeID, b.image.Time, b.image.Files = b.o.VolumeID, b.time, b.files
	f, err := os.CreateTemp(filepath.Dir(b.o.Output), ".photree-iso-")
	if err != nil {
		return fmt.Errorf("making the image: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if b.result.Size, err = iso.Write(f, b.image); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := durable.SyncFile(f.Name()); err != nil {
		return err
	}
	return durable.Rename(f.Name(), b.o.Output)
}
