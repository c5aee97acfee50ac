package rootfs

import (
	"context"
	"fmt"
	"strings"

	"photree/compose/rpm"
	"photree/compose/rpmdb"

	"golang.org/x/sys/unix"
)

// transaction installs packages one after another, as RPM orders the parts of
// an installation.
type transaction struct {
	o        Options
	root     *rootDir
	accounts *accounts
	unpack   *unpacker
	scripts  *scripts
	triggers *triggers
	ledger   *ledger

	headers  []*rpm.Package
	entries  []rpmdb.Entry
	homeless []placed // files whose owners nobody has made yet
}

// install fills the tree from the packages.
func (t *transaction) install(ctx context.Context) error {
	for _, p := range t.headers {
		if s, ok := scriptlet(p, rpm.Pretrans, 1); ok {
			if err := t.scripts.run(ctx, s); err != nil {
				return err
			}
		}
	}
	if err := t.unpackAll(ctx); err != nil {
		return err
	}
	if err := t.makeAccounts(); err != nil {
		return err
	}
	for _, p := range t.headers {
		if s, ok := scriptlet(p, rpm.Posttrans, 1); ok {
			if err := t.scripts.runAdvisory(ctx, s); err != nil {
				return err
			}
		}
	}
	if err := t.triggers.transaction(ctx, t.scripts); err != nil {
		return err
	}
	return t.scripts.finishLdconfig(ctx)
}

// prepare reads the headers and makes the directories that a sandbox mounts
// on.
func (t *transaction) prepare() error {
	for _, name := range t.o.Packages {
		p, err := rpm.Open(name)
		if err != nil {
			return err
		}
		p.Close()
		if p.Source {
			return fmt.Errorf("package %q is a source package", name)
		}
		t.headers = append(t.headers, p)
	}
	for name, mode := range map[string]uint32{"proc": 0o755, "sys": 0o755, "dev": 0o755, "run": 0o755, "tmp": 0o1777} {
		if err := unix.Mkdirat(t.root.fd, name, mode); err != nil && err != unix.EEXIST {
			return fmt.Errorf("making /%s in the tree: %w", name, err)
		}
	}
	return unix.Fchmodat(t.root.fd, "tmp", 0o1777, 0)
}

// unpackAll does for each package what RPM does between the beginning and the
// end of a transaction.
func (t *transaction) unpackAll(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the reader when the writer fails
	started := -1
	for x := range feed(ctx, t.o.Packages) {
		if x.err != nil {
			return x.err
		}
		for started < x.pkg {
			started++
			if err := t.begin(ctx, started); err != nil {
				return err
			}
		}
		var err error
		switch {
		case x.end:
			err = t.end(ctx, x.pkg)
		case x.entry != nil:
			if err = t.unpack.place(x.entry); err == nil && len(x.data) > 0 {
				err = t.unpack.write(x.data)
			}
		default:
			err = t.unpack.write(x.data)
		}
		if err != nil {
			return err
		}
	}
	if len(t.entries) != len(t.headers) {
		return ctx.Err()
	}
	return nil
}

func (t *transaction) begin(ctx context.Context, i int) error {
	p := t.headers[i]
	if t.o.Progress != nil {
		t.o.Progress(i+1, len(t.headers), p.NEVRA)
	}
	if err := t.triggers.before(ctx, t.scripts, p); err != nil {
		return err
	}
	if s, ok := scriptlet(p, rpm.Pre, 1); ok {
		if err := t.scripts.run(ctx, s); err != nil {
			return err
		}
	}
	t.unpack.begin(p)
	return nil
}

func (t *transaction) end(ctx context.Context, i int) error {
	p := t.headers[i]
	if err := t.unpack.end(); err != nil {
		return err
	}
	t.entries = append(t.entries, rpmdb.Entry{Package: p, States: t.unpack.states})
	// The package itself may have brought the accounts that own its files.
	t.accounts.forget()
	if err := t.ledger.apply(t.root, t.o.Epoch, t.headers); err != nil {
		return err
	}
	if err := t.settle(p, t.unpack.homeless); err != nil {
		return err
	}
	if s, ok := scriptlet(p, rpm.Post, 1); ok {
		if err := t.scripts.runAdvisory(ctx, s); err != nil {
			return err
		}
	}
	return t.triggers.after(ctx, t.scripts, p)
}

// settle gives files their owners, making accounts that the package declares
// in sysusers.d where they are missing.
func (t *transaction) settle(p *rpm.Package, files []placed) error {
	rest, err := t.unpack.settle(files)
	if err != nil || len(rest) == 0 {
		t.homeless = append(t.homeless, rest...)
		return err
	}
	if p != nil {
		var conf []string
		for i := range p.Files {
			if f := p.Files[i].Path; strings.HasPrefix(f, "/usr/lib/sysusers.d/") && strings.HasSuffix(f, ".conf") {
				conf = append(conf, f)
			}
		}
		if len(conf) > 0 {
			if err := applySysusers(t.root, conf, t.o.Epoch, t.o.Accounts, t.o.warn); err != nil {
				return err
			}
			t.accounts.forget()
			if rest, err = t.unpack.settle(rest); err != nil {
				return err
			}
		}
	}
	t.homeless = append(t.homeless, rest...)
	return nil
}

// makeAccounts makes the accounts that any sysusers.d file of the tree
// declares, and gives the last files their owners.
func (t *transaction) makeAccounts() error {
	list, err := sysusersFiles(t.root)
	if err != nil {
		return err
	}
	if err := applySysusers(t.root, list, t.o.Epoch, t.o.Accounts, t.o.warn); err != nil {
		return err
	}
	t.accounts.forget()
	rest, err := t.unpack.settle(t.homeless)
	for _, p := range rest {
		t.o.warn(fmt.Sprintf("%s: owner %s:%s does not exist in the tree, root owns it", p.name, p.file.Owner, p.file.Group))
	}
	return err
}
