package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"photree/internal/durable"
)

// installKernels puts what is missing into /boot/ostree. A directory appears
// there whole, by a rename, so that its existence says that it is complete.
func (w *writer) installKernels(ctx context.Context) error {
	if err := durable.Mkdir(w.boot("ostree"), 0o755); err != nil {
		return err
	}
	if err := os.Symlink(".", w.boot("boot")); err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, os.ErrPermission) {
		return err
	}
	for i, d := range w.list {
		dir := w.boot("ostree", d.bootDir())
		if w.kernelInstalled(dir, w.kernels[i]) {
			continue
		}
		if err := w.installKernel(ctx, w.Path(d), dir, w.kernels[i]); err != nil {
			return fmt.Errorf("copying kernel %s to /boot: %w", w.kernels[i].version, err)
		}
	}
	return nil
}

// kernelInstalled reports whether dir holds all files of the kernel in full
// size. Their names hold the checksum of their content.
func (w *writer) kernelInstalled(dir string, k kernel) bool {
	for _, f := range k.files {
		st, err := os.Stat(filepath.Join(dir, f.name))
		if err != nil || st.Size() != f.size {
			return false
		}
	}
	return true
}

func (w *writer) installKernel(ctx context.Context, treeDir, dir string, k kernel) error {
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	for _, f := range k.files {
		if err := copyKernelFile(ctx, filepath.Join(treeDir, f.path), filepath.Join(tmp, f.name)); err != nil {
			return errors.Join(err, os.RemoveAll(tmp))
		}
	}
	if err := durable.SyncDir(tmp); err != nil {
		return err
	}
	if _, err := os.Lstat(dir); err == nil {
		// Incomplete, as another program may leave it: file by file then.
		for _, f := range k.files {
			if err := durable.Rename(filepath.Join(tmp, f.name), filepath.Join(dir, f.name)); err != nil {
				return err
			}
		}
		return os.Remove(tmp)
	}
	return durable.Rename(tmp, dir)
}

// copyKernelFile puts one kernel file into /boot: as a hard link where that is
// possible, else as a flushed copy.
func copyKernelFile(ctx context.Context, from, to string) error {
	if err := os.Link(from, to); err == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, readerWithContext{ctx, in})
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return durable.SyncFile(to)
}

type readerWithContext struct {
	ctx context.Context
	r   io.Reader
}

func (r readerWithContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
