package ostree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"photree/cli"
	"photree/internal/durable"
	"photree/internal/keyfile"
	"photree/repo"
	"photree/repo/sign"

	"github.com/spf13/cobra"
)

func init() { register(newRemote) }

func newRemote(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "remote", Short: "Remote commands that may involve internet access"}
	c.AddCommand(newRemoteAdd(env), newRemoteDelete(env), newRemoteList(env), newRemoteShowURL(env),
		newRemoteRefs(env), newRemoteSummary(env), newRemoteAddCookie(env), newRemoteDeleteCookie(env), newRemoteListCookies(env), newRemoteImport(env), newRemoteListKeys(env))
	return c
}

type remoteAddOptions struct {
	set, signVerify, keys                 []string
	noGPG, noSign, ifNotExists, force     bool
	contentURL, collection, sysroot, repo string
}

func newRemoteAdd(env *cli.Env) *cobra.Command {
	var o remoteAddOptions
	c := &cobra.Command{Use: "add NAME URL [BRANCH...]", Short: "Add a remote repository",
		Long: "Add a remote repository. On the repository of the running system it becomes a file of its own in\n/etc/ostree/remotes.d, on any other a group in the repository's configuration.",
		Args: need(2, -1, "NAME and URL must be specified")}
	f := c.Flags()
	f.StringArrayVar(&o.set, "set", nil, "Set config option `KEY=VALUE` for remote")
	f.BoolVar(&o.noGPG, "no-gpg-verify", false, "Disable GPG verification")
	f.BoolVar(&o.noSign, "no-sign-verify", false, "Disable signature verification")
	f.StringArrayVar(&o.signVerify, "sign-verify", nil, "Verify signatures using `KEYTYPE=inline:PUBKEY` or KEYTYPE=file:/path/to/key")
	f.BoolVar(&o.ifNotExists, "if-not-exists", false, "Do nothing if the provided remote exists")
	f.BoolVar(&o.force, "force", false, "Replace the provided remote if it exists")
	f.StringArrayVar(&o.keys, "gpg-import", nil, "Import GPG key from `FILE`")
	f.StringVar(&o.contentURL, "contenturl", "", "Use `URL` when fetching content")
	f.StringVar(&o.collection, "collection-id", "", "Globally unique `ID` of the collection of refs that the remote has")
	addRemoteRepo(c, &o.repo, &o.sysroot)
	c.RunE = func(_ *cobra.Command, args []string) error {
		remote, err := o.remote(args)
		if err != nil {
			return err
		}
		return addRemote(env, o, remote)
	}
	return c
}

func addRemoteRepo(c *cobra.Command, path, sysroot *string) {
	c.Flags().StringVar(path, "repo", "", "Use the repository at `PATH` (default: the system's)")
	c.Flags().StringVar(sysroot, "sysroot", "", "Use sysroot at `PATH` (overrides --repo)")
}

// remote makes the options of the remote in the order that ostree writes them.
func (o *remoteAddOptions) remote(args []string) (repo.Remote, error) {
	rem := repo.Remote{Name: args[0]}
	add := func(key, value string) { rem.Options = append(rem.Options, repo.Option{Key: key, Value: value}) }
	url := args[1]
	if link, ok := strings.CutPrefix(url, "metalink="); ok {
		add("metalink", link)
	} else {
		add("url", url)
	}
	if len(args) > 2 {
		add("branches", strings.Join(args[2:], ";")+";")
	}
	if o.contentURL != "" {
		add("contenturl", o.contentURL)
	}
	for _, kv := range o.set {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return rem, cli.Fail("Missing '=' in KEY=VALUE for --set: '%s'", kv)
		}
		add(key, value)
	}
	if o.noGPG {
		add("gpg-verify", "false")
	}
	if o.noSign {
		if !o.noGPG {
			add("gpg-verify", "false") // it is a kind of signature too
		}
		add("sign-verify", "false")
	}
	var types []string
	for _, s := range o.signVerify {
		kind, where, ok := strings.Cut(s, "=")
		if !ok {
			return rem, cli.Fail("Failed to parse KEYTYPE=inline:PUBKEY or KEYTYPE=file:/path/to/key in %s", s)
		}
		if err := sign.CheckType(kind); err != nil {
			return rem, err
		}
		how, value, _ := strings.Cut(where, ":")
		key := map[string]string{"inline": "key", "file": "file"}[how]
		if key == "" || value == "" {
			return rem, cli.Fail("Invalid key reference %s: use inline:PUBKEY or file:/path/to/key", where)
		}
		add("verification-"+kind+"-"+key, value)
		if !slices.Contains(types, kind) {
			types = append(types, kind)
		}
	}
	if len(types) > 0 {
		add("sign-verify", strings.Join(types, ";"))
	}
	if o.collection != "" {
		add("collection-id", o.collection)
	}
	return rem, nil
}

// addRemote writes the remote. Those of the running system become files of /etc, where an administrator looks for
// configuration and where each deployment has its own; those of another repository go into its configuration.
func addRemote(env *cli.Env, o remoteAddOptions, rem repo.Remote) error {
	r, err := openForRemotes(env, o.repo, o.sysroot)
	if err != nil {
		return err
	}
	defer r.Close()
	dir, err := r.RemotesDir()
	if err != nil {
		return err
	}
	if dir == "" && o.sysroot != "" {
		if dir, err = deployedRemotes(r, o.sysroot); err != nil {
			return err
		}
	}
	old, err := r.Remote(rem.Name)
	switch {
	case o.force && o.ifNotExists:
		return cli.Fail("Can't combine --if-not-exists and --force")
	case err == nil && o.force:
		if old.File == "" {
			dir = "" // it is replaced where it stands
		}
	case err == nil && o.ifNotExists:
		return nil
	case err == nil:
		where := "config"
		if old.File != "" {
			where = old.File
		}
		return cli.Fail("Remote configuration for \"%s\" already exists: (in %s)", rem.Name, where)
	case !errors.Is(err, repo.ErrNotFound):
		return err
	}
	if dir != "" {
		err = writeRemoteFile(dir, rem)
	} else {
		err = r.AddRemote(rem, o.force)
	}
	if err != nil || len(o.keys) == 0 {
		return err
	}
	var keys []byte
	for _, path := range o.keys {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		keys = append(keys, data...)
	}
	return importKeys(env, r, rem.Name, keys)
}

// deployedRemotes returns the directory of remotes of a sysroot that is a deployment with the physical one mounted in
// it, as the running system's is; "" for a physical one, or when the configuration wants the remotes in itself.
func deployedRemotes(r *repo.Repo, sysroot string) (string, error) {
	if on, err := r.Config().Bool("core", "add-remotes-config-dir", true); err != nil || !on {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(sysroot, "sysroot/ostree")); err != nil {
		return "", nil //nolint:nilerr // it is the physical one
	}
	return filepath.Join(sysroot, "etc/ostree/remotes.d"), nil
}

// openForRemotes opens the repository whose remotes change.
func openForRemotes(env *cli.Env, path, sysroot string) (*repo.Repo, error) {
	if sysroot != "" {
		path = filepath.Join(sysroot, "ostree/repo")
	}
	return openRepo(env, path)
}

// writeRemoteFile gives a remote a file of its own in dir.
func writeRemoteFile(dir string, rem repo.Remote) error {
	if err := repo.CheckRemoteName(rem.Name); err != nil {
		return err
	}
	var f keyfile.File
	for _, o := range rem.Options {
		f.Set(`remote "`+rem.Name+`"`, o.Key, o.Value)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("adding remote %q: %w", rem.Name, err)
	}
	return durable.WriteFile(filepath.Join(dir, rem.Name+".conf"), f.Format(), 0o644)
}

func newRemoteDelete(env *cli.Env) *cobra.Command {
	var path, sysroot string
	var ifExists bool
	c := &cobra.Command{Use: "delete NAME", Short: "Delete a remote repository", Args: need(1, 1, "NAME must be specified")}
	addRemoteRepo(c, &path, &sysroot)
	c.Flags().BoolVar(&ifExists, "if-exists", false, "Do nothing if the provided remote does not exist")
	c.RunE = func(_ *cobra.Command, args []string) error {
		r, err := openForRemotes(env, path, sysroot)
		if err != nil {
			return err
		}
		defer r.Close()
		rem, err := findRemote(r, args[0])
		if err != nil {
			if ifExists && errors.Is(err, repo.ErrNotFound) {
				return nil
			}
			return err
		}
		if err := r.DeleteRemote(rem.Name); err != nil {
			return err
		}
		return removeEmptyFile(rem.File)
	}
	return c
}

// removeEmptyFile removes a file of remotes.d that has no remote left.
func removeEmptyFile(path string) error {
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := keyfile.Parse(data)
	if err != nil || len(f.Groups()) > 0 {
		return err
	}
	return durable.Remove(path)
}

// remoteMissing words the error for a remote that is not there as ostree does.
type remoteMissing struct{ name string }

func (e *remoteMissing) Error() string { return fmt.Sprintf("Remote \"%s\" not found", e.name) }
func (e *remoteMissing) Unwrap() error { return repo.ErrNotFound }

func findRemote(r *repo.Repo, name string) (repo.Remote, error) {
	rem, err := r.Remote(name)
	if errors.Is(err, repo.ErrNotFound) {
		return rem, &remoteMissing{name}
	}
	return rem, err
}
