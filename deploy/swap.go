package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"photree/grub/bls"
	"photree/internal/durable"
)

// writer makes a list of deployments the current one; its methods are the steps.
type writer struct {
	*Sysroot
	old    *State
	list   []*Deployment
	result *Result

	noPrune  bool
	switched bool // the switch happened: errors from here on lose nothing

	kernels     []kernel // of list, same order
	entries     []bls.Entry
	boot_, sub_ int // the versions to come
}

// The switch, when boot entries change. Everything that the entries will name is
// complete and durable before the exchange (D2); the exchange is the one rename
// that decides (D1); after it only what nothing names is removed.
var swapSteps = []step[*writer]{
	{"copy kernels to /boot", (*writer).installKernels},
	{"write the boot links", (*writer).writeBootLinks},
	{"write the boot entries", (*writer).writeEntries},
	{"write the deployment refs", (*writer).writeRefs},
	{"flush the sysroot", (*writer).flush},
	{"prepare the loader link", (*writer).prepareLoader},
	{"checkpoint /boot", (*writer).checkpoint},
	{"switch", (*writer).exchange},
	{"checkpoint /boot after the switch", (*writer).checkpoint},
	{"remove the old loader link", (*writer).removeOldLoader},
}

// The switch, when the same boot entries lead to other deployments: only the
// link farm changes, and the rename is that of its link.
var subSwapSteps = []step[*writer]{
	{"write the boot links", (*writer).writeBootLinks},
	{"write the deployment refs", (*writer).writeRefs},
	{"flush the sysroot", (*writer).flush},
	{"switch", (*writer).switchLinks},
}

// WriteDeployments makes list the list of deployments. Each must exist. It is
// what all changes that make no new tree come down to.
func (s *Sysroot) writeDeployments(ctx context.Context, old *State, list []*Deployment) (*Result, error) {
	w := &writer{Sysroot: s, old: old, list: list, result: &Result{}}
	c := &cleaner{Sysroot: s, state: old}
	if err := runSteps(ctx, s, leftoverSteps, c); err != nil {
		return nil, err
	}
	if err := w.run(ctx); err != nil && w.switched {
		return w.result, &CleanupError{Err: s.explainSpace(err)}
	} else if err != nil {
		return nil, fmt.Errorf("writing the list of deployments: %w", s.explainSpace(err))
	}
	return w.result, nil
}

// CleanupError says that a change took place, but what it made superfluous could
// not be removed. The next change tries again.
type CleanupError struct{ Err error }

func (e *CleanupError) Error() string {
	return "the change is done, but cleaning up behind it was not possible: " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *CleanupError) Unwrap() error { return e.Err }

func (w *writer) run(ctx context.Context) error {
	for _, d := range w.old.Deployments {
		if d.Booted && !containsDeployment(w.list, d) {
			return fmt.Errorf("the booted deployment %s is missing in the new list", d.Name()) // D3
		}
	}
	if err := w.plan(); err != nil {
		return err
	}
	steps := subSwapSteps
	if w.result.BootSwap {
		steps = swapSteps
	}
	if err := runSteps(ctx, w.Sysroot, steps, w); err != nil {
		return err
	}
	w.result.BootVersion, w.result.SubBootVersion = w.boot_, w.sub_
	w.result.CountChange = len(w.list) - len(w.old.Deployments)
	for _, d := range w.old.Deployments {
		if !containsDeployment(w.list, d) {
			w.result.Removed = append(w.result.Removed, d)
		}
	}
	state, err := w.Load()
	if err != nil {
		return err
	}
	c := &cleaner{Sysroot: w.Sysroot, state: state, result: w.result, noPrune: w.noPrune}
	return runSteps(ctx, w.Sysroot, cleanSteps, c)
}

func containsDeployment(list []*Deployment, d *Deployment) bool {
	for _, o := range list {
		if d.same(o) {
			return true
		}
	}
	return false
}

// plan numbers the deployments and decides which of the two switches it takes.
func (w *writer) plan() error {
	serials := map[string]int{}
	w.kernels = make([]kernel, len(w.list))
	for i, d := range w.list {
		k, err := findKernel(dirTree(w.Path(d)), d.BootChecksum)
		if err != nil {
			return fmt.Errorf("deployment %s: %w", d.Name(), err)
		}
		w.kernels[i] = k
		d.Index = i
		d.BootSerial = serials[d.bootDir()]
		serials[d.bootDir()]++
	}
	// Would the entries of the current version stay as they are?
	w.boot_, w.sub_ = w.old.BootVersion, 1-w.old.SubBootVersion
	w.entries = w.makeEntries()
	w.result.BootSwap = !w.old.hasLoader || !sameEntries(w.entries, w.old.entries) || w.menuMissing()
	_, w.result.BootloaderSet = w.repo.Config().Get("sysroot", "bootloader")
	if !w.result.BootSwap {
		return nil
	}
	w.boot_ = 1 - w.old.BootVersion
	_, _, err := readVersionLink(w.ostree("boot."+strconv.Itoa(w.boot_)), "boot."+strconv.Itoa(w.boot_)+".")
	if err != nil {
		return err
	}
	w.sub_ = 1
	w.entries = w.makeEntries()
	return nil
}

// menuMissing reports whether another program wrote the current loader directory
// without our boot loader's files. Then the next change brings them back.
func (w *writer) menuMissing() bool {
	if w.opts.Bootloader == nil {
		return false
	}
	names, err := os.ReadDir(w.boot("loader"))
	return err != nil || len(names) < 2
}

// bootDir is the name of the directory of the deployment's kernel.
func (d *Deployment) bootDir() string { return d.Stateroot + "-" + d.BootChecksum }

func sameEntries(a, b []bls.Entry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || string(a[i].Format()) != string(b[i].Format()) {
			return false
		}
	}
	return true
}

// writeBootLinks makes boot.B.S, whose links lead from the kernel command line
// to deployments. For a full switch it also points boot.B there: nothing reads
// that before the switch.
func (w *writer) writeBootLinks(context.Context) error {
	link := "boot." + strconv.Itoa(w.boot_)
	farm := link + "." + strconv.Itoa(w.sub_)
	if err := os.RemoveAll(w.ostree(farm)); err != nil {
		return err
	}
	for _, d := range w.list {
		dir := w.ostree(farm, d.Stateroot, d.BootChecksum)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		target := filepath.Join("../../../deploy", d.Stateroot, "deploy", d.Name())
		if err := os.Symlink(target, filepath.Join(dir, strconv.Itoa(d.BootSerial))); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(w.ostree(farm), 0o755); err != nil {
		return err
	}
	if !w.result.BootSwap {
		return nil
	}
	return durable.Symlink(farm, w.ostree(link))
}

// writeRefs names the commits of the new list under ostree/B/S, beside the names
// for the old one, which the clean-up removes. So there is no moment at which
// prune could take a deployment's commit for unneeded.
func (w *writer) writeRefs(ctx context.Context) error {
	txn, err := w.repo.Begin(ctx)
	if err != nil {
		return err
	}
	for i, d := range w.list {
		if err := txn.SetRef("", fmt.Sprintf("ostree/%d/%d/%d", w.boot_, w.sub_, i), d.Commit); err != nil {
			return errors.Join(err, txn.Abort())
		}
	}
	return txn.Commit()
}

func (w *writer) flush(context.Context) error {
	if w.opts.TestFreeze {
		if err := durable.CheckWatchdog(w.boot()); err != nil {
			return err
		}
		return errTestFreeze
	}
	return durable.Syncfs(w.ostree())
}

const loaderTmp = "loader.tmp"

func (w *writer) prepareLoader(context.Context) error {
	return durable.Symlink(w.loaderName(), w.boot(loaderTmp))
}

// checkpoint brings /boot to its place on the disk: GRUB replays no journal (D7).
func (w *writer) checkpoint(context.Context) error { return durable.Checkpoint(w.boot()) }

// errTestFreeze has the words that ostree's own test looks for.
var errTestFreeze = errors.New("fifreeze watchdog was run: During fsfreeze-thaw: aborting due to test-fifreeze")

// exchange is the commit point (D1). It exchanges two links instead of renaming
// one over the other: a rename frees the old link's inode, which can reach the
// disk before the directory that still names it, and GRUB would read that.
func (w *writer) exchange(context.Context) error {
	var err error
	if w.old.hasLoader {
		err = durable.Exchange(w.boot(loaderTmp), w.boot("loader"))
	} else {
		err = durable.Rename(w.boot(loaderTmp), w.boot("loader"))
	}
	w.switched = w.switched || err == nil
	return err
}

func (w *writer) removeOldLoader(context.Context) error { return durable.Remove(w.boot(loaderTmp)) }

// switchLinks is the commit point of the switch of links alone.
func (w *writer) switchLinks(context.Context) error {
	link := "boot." + strconv.Itoa(w.boot_)
	err := durable.Symlink(link+"."+strconv.Itoa(w.sub_), w.ostree(link))
	w.switched = w.switched || err == nil
	return err
}
