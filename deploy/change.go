package deploy

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"photree/deploy/etcmerge"
	"photree/internal/durable"
	"photree/internal/kargs"
	"photree/internal/keyfile"
)

// change runs f on the current state under the lock and makes the list that it
// returns the current one.
func (s *Sysroot) change(ctx context.Context, f func(*State) ([]*Deployment, error)) (*Result, error) {
	unlock, err := s.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	st, err := s.Load()
	if err != nil {
		return nil, err
	}
	list, err := f(st)
	if err != nil {
		return nil, err
	}
	return s.writeDeployments(ctx, st, list)
}

func (st *State) at(i int) (*Deployment, error) {
	if i < 0 || i >= len(st.Deployments) {
		return nil, &IndexError{Index: i, Count: len(st.Deployments)}
	}
	return st.Deployments[i], nil
}

// IndexError says that there is no deployment of that number.
type IndexError struct{ Index, Count int }

func (e *IndexError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("Invalid index %d", e.Index)
	}
	return fmt.Sprintf("Out of range deployment index %d, expected < %d", e.Index, e.Count)
}

// sentence is an error in the very words that ostree and rpm-ostree use, which
// users and scripts know.
type sentence string

func (s sentence) Error() string { return string(s) }

func clones(list []*Deployment) []*Deployment {
	out := make([]*Deployment, len(list))
	for i, d := range list {
		out[i] = d.clone()
	}
	return out
}

// Undeploy removes the deployment with this index.
func (s *Sysroot) Undeploy(ctx context.Context, i int) (*Result, error) {
	return s.change(ctx, func(st *State) ([]*Deployment, error) {
		d, err := st.at(i)
		if err != nil {
			return nil, err
		}
		if d.Booted {
			return nil, sentence(fmt.Sprintf("Cannot undeploy currently booted deployment %d", i))
		}
		list := clones(st.Deployments)
		return append(list[:i], list[i+1:]...), nil
	})
}

// SetDefault makes the deployment with this index the one that is booted.
func (s *Sysroot) SetDefault(ctx context.Context, i int) (*Result, error) {
	return s.change(ctx, func(st *State) ([]*Deployment, error) {
		if _, err := st.at(i); err != nil {
			return nil, err
		}
		return moveToFront(st.Deployments, i), nil
	})
}

func moveToFront(list []*Deployment, i int) []*Deployment {
	out := clones(list)
	d := out[i]
	copy(out[1:i+1], out[:i])
	out[0] = d
	return out
}

// Rollback makes the other deployment the default: the one behind the booted
// one if that is the default, else the booted one. So a second call undoes the
// first.
func (s *Sysroot) Rollback(ctx context.Context) (*Result, error) {
	var target *Deployment
	r, err := s.change(ctx, func(st *State) ([]*Deployment, error) {
		if n := len(st.Deployments); n < 2 {
			return nil, sentence(fmt.Sprintf("Found %d deployments, at least 2 required for rollback", n))
		}
		target = st.rollbackTarget()
		if target == nil {
			return nil, fmt.Errorf("there is no other deployment of %q to roll back to", st.Deployments[0].Stateroot)
		}
		return moveToFront(st.Deployments, target.Index), nil
	})
	if err == nil {
		r.Deployment = target
	}
	return r, err
}

func (st *State) rollbackTarget() *Deployment {
	booted := st.Booted()
	if booted != nil && booted.Index != 0 {
		return booted
	}
	for _, d := range st.Deployments[1:] {
		if d.Stateroot == st.Deployments[0].Stateroot {
			return d
		}
	}
	return nil
}

// SetKargs replaces the kernel arguments of a deployment in place.
func (s *Sysroot) SetKargs(ctx context.Context, i int, args kargs.List) (*Result, error) {
	return s.change(ctx, func(st *State) ([]*Deployment, error) {
		if _, err := st.at(i); err != nil {
			return nil, err
		}
		list := clones(st.Deployments)
		list[i].Kargs = args.RemoveKeys("ostree")
		return list, nil
	})
}

// Drop says which deployments CleanupList removes.
type Drop struct {
	Stateroot string
	// Pending removes those in front of the booted one, Rollback those behind.
	Pending, Rollback bool
}

// RemoveSome removes the deployments that drop names, except pinned ones and the
// booted one. A list that loses nothing is not written: then the result is nil.
func (s *Sysroot) RemoveSome(ctx context.Context, drop Drop) (*Result, error) {
	r, err := s.change(ctx, func(st *State) ([]*Deployment, error) {
		var list []*Deployment
		passed := false
		for _, d := range st.Deployments {
			passed = passed || d.Booted
			gone := d.Stateroot == drop.Stateroot && !d.Booted && !d.Pinned && (drop.Pending && !passed || drop.Rollback && passed)
			if !gone {
				list = append(list, d.clone())
			}
		}
		if len(list) == len(st.Deployments) || len(list) == 0 {
			return nil, errNothing
		}
		return list, nil
	})
	if errors.Is(err, errNothing) {
		return nil, nil
	}
	return r, err
}

var errNothing = errors.New("nothing to do")

// Pin keeps a deployment until it is unpinned. It reports whether that changed
// anything.
func (s *Sysroot) Pin(ctx context.Context, i int, on bool) (changed bool, err error) {
	err = s.editOrigin(ctx, i, func(d *Deployment, f *keyfile.File) {
		if changed = d.Pinned != on; on {
			f.Set("libostree-transient", "pinned", "true")
			return
		}
		f.Delete("libostree-transient", "pinned")
		if len(f.Keys("libostree-transient")) == 0 {
			f.DeleteGroup("libostree-transient")
		}
	})
	return changed, err
}

// SetOrigin changes what a deployment follows.
func (s *Sysroot) SetOrigin(ctx context.Context, i int, refspec string) error {
	return s.editOrigin(ctx, i, func(_ *Deployment, f *keyfile.File) {
		f.Delete("origin", "override-commit")
		f.Set("origin", "refspec", refspec)
	})
}

func (s *Sysroot) editOrigin(ctx context.Context, i int, edit func(*Deployment, *keyfile.File)) error {
	unlock, err := s.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := s.Load()
	if err != nil {
		return err
	}
	d, err := st.at(i)
	if err != nil {
		return err
	}
	f := d.Origin.Clone()
	edit(d, f)
	return s.setOriginFile(d, f)
}

// Cleanup removes what the current list does not need: directories, links,
// kernels, refs and objects.
func (s *Sysroot) Cleanup(ctx context.Context) (*Result, error) {
	unlock, err := s.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	st, err := s.Load()
	if err != nil {
		return nil, err
	}
	r := &Result{BootVersion: st.BootVersion, SubBootVersion: st.SubBootVersion}
	c := &cleaner{Sysroot: s, state: st, result: r}
	if err := runSteps(ctx, s, leftoverSteps[:1], c); err != nil {
		return nil, err
	}
	return r, runSteps(ctx, s, cleanSteps, c)
}

// EditKargs changes the kernel arguments of all deployments in place.
func (s *Sysroot) EditKargs(ctx context.Context, edit func(kargs.List) (kargs.List, error)) (*Result, error) {
	return s.change(ctx, func(st *State) ([]*Deployment, error) {
		list := clones(st.Deployments)
		for _, d := range list {
			args, err := edit(d.Kargs)
			if err != nil {
				return nil, err
			}
			d.Kargs = args.RemoveKeys("ostree")
		}
		return list, nil
	})
}

// ConfigDiff lists how the /etc of a deployment differs from its defaults: what
// an update would carry over.
func (s *Sysroot) ConfigDiff(ctx context.Context, d *Deployment) ([]etcmerge.Difference, error) {
	base, err := etcmerge.Scan(ctx, filepath.Join(s.Path(d), "usr/etc"))
	if err != nil {
		return nil, err
	}
	local, err := etcmerge.Scan(ctx, filepath.Join(s.Path(d), "etc"))
	if err != nil {
		return nil, err
	}
	return etcmerge.Compare(base, local), nil
}

// setOriginFile replaces the origin file of a deployment.
func (s *Sysroot) setOriginFile(d *Deployment, f *keyfile.File) error {
	if err := durable.WriteFile(s.originPath(d), f.Format(), 0o644); err != nil {
		return fmt.Errorf("writing the origin of %s: %w", d.Name(), err)
	}
	return nil
}
