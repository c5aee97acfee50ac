package rootfs

import (
	"context"
	"slices"
	"sort"
	"strings"

	"photree/compose/rpm"
)

// triggers runs the trigger scripts of packages that are installed.
type triggers struct {
	installed []*rpm.Package
}

// before runs what other packages want to be run before p comes.
func (t *triggers) before(ctx context.Context, s *scripts, p *rpm.Package) error {
	for _, owner := range t.installed {
		for _, tr := range owner.Triggers {
			if tr.Kind == rpm.TriggerPrein && watches(tr, p) {
				if err := s.runAdvisory(ctx, trigger(owner, tr, 1, 0)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// after runs what p's installation sets off: other packages' triggers on p,
// p's triggers on those that are there, and file triggers likewise.
func (t *triggers) after(ctx context.Context, s *scripts, p *rpm.Package) error {
	t.installed = append(t.installed, p)
	for _, owner := range t.installed {
		for _, tr := range owner.Triggers {
			if tr.Kind != rpm.TriggerIn {
				continue
			}
			hit := watches(tr, p)
			if owner == p {
				hit = slices.ContainsFunc(t.installed, func(q *rpm.Package) bool { return watches(tr, q) })
			}
			if !hit {
				continue
			}
			if err := s.runAdvisory(ctx, trigger(owner, tr, 1, 1)); err != nil {
				return err
			}
		}
	}
	var due []dueTrigger
	for _, owner := range t.installed {
		from := []*rpm.Package{p}
		if owner == p {
			from = t.installed
		}
		due = append(due, fileTriggers(owner, rpm.FileTriggerIn, from)...)
	}
	return runDue(ctx, s, due)
}

// transaction runs the file triggers of the whole transaction.
func (t *triggers) transaction(ctx context.Context, s *scripts) error {
	var due []dueTrigger
	for _, owner := range t.installed {
		due = append(due, fileTriggers(owner, rpm.TransFileTriggerIn, t.installed)...)
	}
	return runDue(ctx, s, due)
}

// dueTrigger is a file trigger with the files that set it off.
type dueTrigger struct {
	script   script
	priority uint32
}

func fileTriggers(owner *rpm.Package, kind rpm.TriggerKind, from []*rpm.Package) []dueTrigger {
	var out []dueTrigger
	for _, tr := range owner.Triggers {
		if tr.Kind != kind {
			continue
		}
		var files []string
		for _, p := range from {
			for i := range p.Files {
				for _, d := range tr.On {
					if strings.HasPrefix(p.Files[i].Path, d.Name) {
						files = append(files, p.Files[i].Path)
						break
					}
				}
			}
		}
		if len(files) == 0 {
			continue
		}
		x := trigger(owner, tr, 1)
		// The names are read from standard input, one a line.
		x.stdin = []byte(strings.Join(files, "\n") + "\n")
		out = append(out, dueTrigger{x, tr.Priority})
	}
	return out
}

func runDue(ctx context.Context, s *scripts, due []dueTrigger) error {
	sort.SliceStable(due, func(i, j int) bool { return due[i].priority > due[j].priority })
	for _, d := range due {
		if err := s.runAdvisory(ctx, d.script); err != nil {
			return err
		}
	}
	return nil
}

// watches says whether a trigger is set off by a package: one that provides
// the name, in the version range, as every package provides itself.
func watches(tr rpm.Trigger, p *rpm.Package) bool {
	self := rpm.Dep{Name: p.Name, Flags: rpm.Equal, EVR: p.EVR}
	for _, on := range tr.On {
		if on.Name == p.Name && on.Overlaps(self) {
			return true
		}
	}
	return false
}

func trigger(owner *rpm.Package, tr rpm.Trigger, argv ...int) script {
	return script{pkg: owner.NEVRA, kind: string(tr.Kind), args: tr.Args, body: tr.Body, argv: argv}
}
