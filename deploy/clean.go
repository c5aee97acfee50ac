package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"photree/internal/durable"
	"photree/repo"
	"photree/repo/object"
)

// cleaner removes what a list does not need; its methods are the steps. All of
// it is garbage: the list was read from disk.
type cleaner struct {
	*Sysroot
	state   *State
	result  *Result // may be nil
	noPrune bool
}

// leftoverSteps run before a change, without touching the repository.
var leftoverSteps = []step[*cleaner]{
	{"finish an interrupted switch", (*cleaner).finishSwitch},
	{"remove unused deployments", (*cleaner).removeDeployments},
	{"remove unused boot links", (*cleaner).removeBootLinks},
	{"remove unused boot entries", (*cleaner).removeLoaders},
	{"remove unused kernels", (*cleaner).removeKernels},
}

// cleanSteps run after a change.
var cleanSteps = []step[*cleaner]{
	{"remove unused deployments", (*cleaner).removeDeployments},
	{"remove unused boot links", (*cleaner).removeBootLinks},
	{"remove unused boot entries", (*cleaner).removeLoaders},
	{"remove unused kernels", (*cleaner).removeKernels},
	{"remove old deployment refs", (*cleaner).removeRefs},
	{"prune the repository", (*cleaner).prune},
	{"tell watchers", (*cleaner).touch},
}

// finishSwitch deals with a run that ended between the switch and the removal of
// the old link: the switch must be in place on disk before anything of the old
// side is touched (D7).
func (c *cleaner) finishSwitch(context.Context) error {
	tmp := c.boot(loaderTmp)
	if _, err := os.Lstat(tmp); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := durable.Checkpoint(c.boot()); err != nil {
		return err
	}
	return durable.Remove(tmp)
}

var deploymentName = regexp.MustCompile(`^[0-9a-f]{64}\.[0-9]+$`)

func (c *cleaner) removeDeployments(ctx context.Context) error {
	if len(c.state.Broken) > 0 {
		// A directory may be unused only because the link to it is damaged.
		return nil
	}
	known := map[string]bool{}
	for _, d := range c.state.Deployments {
		known[c.Path(d)] = true
	}
	roots, err := c.Stateroots()
	if err != nil {
		return err
	}
	for _, name := range roots {
		dir := c.ostree("deploy", name, "deploy")
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := durable.RemoveTemps(dir, ""); err != nil {
			return err
		}
		for _, e := range entries {
			name := strings.TrimSuffix(e.Name(), ".origin")
			path := filepath.Join(dir, name)
			if !deploymentName.MatchString(name) || known[path] || isRootDir(path) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := removeDeploymentDir(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// isRootDir reports whether the machine runs from this directory. It is in the
// list already, unless the list is broken: then the directory must stay (D3).
func isRootDir(path string) bool {
	a, err := os.Stat(path)
	if err != nil {
		return false
	}
	b, err := os.Stat("/")
	return err == nil && os.SameFile(a, b)
}

func (s *Sysroot) removeTree(d *Deployment) error { return removeDeploymentDir(s.Path(d)) }

func removeDeploymentDir(path string) error {
	if isDir(path) {
		if err := setImmutable(path, false); err != nil {
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing deployment: %w", err)
		}
	}
	if err := os.Remove(path + ".origin"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	backing := filepath.Join(filepath.Dir(filepath.Dir(path)), "backing", filepath.Base(path))
	return os.RemoveAll(backing)
}

func (c *cleaner) removeBootLinks(context.Context) error {
	b, sub := strconv.Itoa(c.state.BootVersion), strconv.Itoa(c.state.SubBootVersion)
	other := strconv.Itoa(1 - c.state.BootVersion)
	names := []string{"boot." + other, "boot." + other + ".0", "boot." + other + ".1", "boot." + b + "." + strconv.Itoa(1-c.state.SubBootVersion)}
	if !c.state.hasLoader {
		names = append(names, "boot."+b, "boot."+b+"."+sub)
	}
	for _, n := range names {
		if err := os.RemoveAll(c.ostree(n)); err != nil {
			return err
		}
	}
	return durable.RemoveTemps(c.ostree(), "boot.")
}

func (c *cleaner) removeLoaders(context.Context) error {
	names := []string{"loader." + strconv.Itoa(1-c.state.BootVersion)}
	if !c.state.hasLoader {
		names = append(names, "loader."+strconv.Itoa(c.state.BootVersion))
	}
	for _, n := range names {
		if err := os.RemoveAll(c.boot(n)); err != nil {
			return err
		}
	}
	return durable.RemoveTemps(c.boot(), "loader")
}

var kernelDir = regexp.MustCompile(`^.+-[0-9a-f]{64}(\.tmp)?$`)

// removeKernels removes kernel directories that no boot entry names; entries
// whose deployment is broken count as well.
func (c *cleaner) removeKernels(context.Context) error {
	keep := map[string]bool{}
	for _, d := range c.state.Deployments {
		keep[d.bootDir()] = true
	}
	for _, e := range c.state.entries {
		keep[filepath.Base(filepath.Dir(e.Get("linux")))] = true
	}
	entries, err := os.ReadDir(c.boot("ostree"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !kernelDir.MatchString(e.Name()) || keep[e.Name()] {
			continue
		}
		if err := os.RemoveAll(c.boot("ostree", e.Name())); err != nil {
			return fmt.Errorf("removing an old kernel: %w", err)
		}
	}
	return nil
}

// deploymentRef is the form of the refs that hold deployments' commits.
var deploymentRef = regexp.MustCompile(`^ostree/[01]/[01]/[0-9]+$`)

// removeRefs leaves of the refs under ostree/ those of the current list, and
// makes those that are missing, as after a run that was killed.
func (c *cleaner) removeRefs(ctx context.Context) error {
	want := map[string]*Deployment{}
	for i, d := range c.state.Deployments {
		want[fmt.Sprintf("ostree/%d/%d/%d", c.state.BootVersion, c.state.SubBootVersion, i)] = d
	}
	refs, err := c.repo.Refs()
	if err != nil {
		return err
	}
	txn, err := c.repo.Begin(ctx)
	if err != nil {
		return err
	}
	for _, r := range refs {
		if r.Remote != "" || r.Collection != "" || !deploymentRef.MatchString(r.Name) {
			continue
		}
		if d := want[r.Name]; d != nil && d.Commit == r.ID {
			delete(want, r.Name)
		} else if d == nil {
			if err := txn.SetRef("", r.Name, object.ID{}); err != nil {
				return errors.Join(err, txn.Abort())
			}
		}
	}
	for name, d := range want {
		if err := txn.SetRef("", name, d.Commit); err != nil {
			return errors.Join(err, txn.Abort())
		}
	}
	return txn.Commit()
}

// prune removes objects that no ref needs, the history of deployed commits
// included.
func (c *cleaner) prune(ctx context.Context) error {
	if c.noPrune {
		return nil
	}
	r, err := c.repo.Prune(ctx, repo.PruneOptions{RefsOnly: true})
	if err != nil {
		return fmt.Errorf("pruning the repository: %w", err)
	}
	if c.result != nil {
		c.result.FreedObjects, c.result.Freed = r.Pruned, r.Freed
	}
	return nil
}

// touch changes the time of the directory that programs watch to learn about
// new deployments.
func (c *cleaner) touch(context.Context) error {
	now := time.Now()
	return os.Chtimes(c.ostree("deploy"), now, now)
}
