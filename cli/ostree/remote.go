package ostree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"photree/cli"
	"photree/internal/durable"
	"photree/internal/keyfile"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/pull"

	"github.com/spf13/cobra"
)

func init() { register(newRemote) }

func newRemote(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "remote", Short: "Remote commands that may involve internet access"}
	c.AddCommand(newRemoteAdd(env), newRemoteDelete(env), newRemoteList(env), newRemoteShowURL(env),
		newRemoteRefs(env), newRemoteSummary(env), newRemoteImport(env))
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
		Long: "Add a remote repository. On the repository of the running system it becomes a file of its own in\n/etc/ostree/remotes.d; with --repo it goes into the configuration of that repository.",
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
		add("sign-verify", "false")
	}
	for _, s := range o.signVerify {
		kind, where, _ := strings.Cut(s, "=")
		how, value, ok := strings.Cut(where, ":")
		key := map[string]string{"inline": "key", "file": "file"}[how]
		if !ok || key == "" {
			return rem, cli.Fail("Invalid --sign-verify '%s': use KEYTYPE=inline:PUBKEY or KEYTYPE=file:/path/to/key", s)
		}
		if kind != "ed25519" {
			return rem, cli.Fail("Invalid --sign-verify '%s': the only type of key is ed25519", s)
		}
		add("verification-"+kind+"-"+key, value)
		add("sign-verify", kind)
	}
	if o.collection != "" {
		add("collection-id", o.collection)
	}
	return rem, nil
}

func addRemote(env *cli.Env, o remoteAddOptions, rem repo.Remote) error {
	r, inEtc, err := openForRemotes(env, o.repo, o.sysroot)
	if err != nil {
		return err
	}
	defer r.Close()
	if old, err := r.Remote(rem.Name); err == nil && !o.force {
		if o.ifNotExists {
			return nil
		}
		where := "config"
		if old.File != "" {
			where = old.File
		}
		return cli.Fail("Remote configuration for \"%s\" already exists: (in %s)", rem.Name, where)
	} else if err != nil && !errors.Is(err, repo.ErrNotFound) {
		return err
	} else if err == nil && o.force {
		inEtc = old.File != ""
	}
	if inEtc {
		err = writeRemoteFile(rem)
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

// remotesDir is where a system has the remotes that its administrator adds.
const remotesDir = "/etc/ostree/remotes.d"

// openForRemotes opens the repository whose remotes change. Those of the running system are files of /etc, where an
// administrator looks for configuration and where it follows the deployment, unless the repository is named.
func openForRemotes(env *cli.Env, path, sysroot string) (r *repo.Repo, inEtc bool, err error) {
	if sysroot != "" {
		path = filepath.Join(sysroot, "ostree/repo")
	}
	r, err = openRepo(env, path)
	return r, err == nil && path == "" && isSystemRepo(r), err
}

func writeRemoteFile(rem repo.Remote) error {
	if err := repo.CheckRemoteName(rem.Name); err != nil {
		return err
	}
	var f keyfile.File
	for _, o := range rem.Options {
		f.Set(`remote "`+rem.Name+`"`, o.Key, o.Value)
	}
	if err := os.MkdirAll(remotesDir, 0o755); err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(remotesDir, rem.Name+".conf"), f.Format(), 0o644)
}

func newRemoteDelete(env *cli.Env) *cobra.Command {
	var path, sysroot string
	var ifExists bool
	c := &cobra.Command{Use: "delete NAME", Short: "Delete a remote repository", Args: need(1, 1, "NAME must be specified")}
	addRemoteRepo(c, &path, &sysroot)
	c.Flags().BoolVar(&ifExists, "if-exists", false, "Do nothing if the provided remote does not exist")
	c.RunE = func(_ *cobra.Command, args []string) error {
		r, _, err := openForRemotes(env, path, sysroot)
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

func newRemoteList(env *cli.Env) *cobra.Command {
	var urls, asJSON bool
	c := &cobra.Command{Use: "list", Short: "List remote repository names", Args: need(0, 0, "")}
	at := addRepo(c)
	c.Flags().BoolVarP(&urls, "show-urls", "u", false, "Show remote URLs in list")
	cli.AddJSON(c, &asJSON)
	c.RunE = withRepo(env, at, func(r *repo.Repo, _ []string) error {
		remotes, err := r.Remotes()
		if err != nil {
			return err
		}
		if asJSON {
			return cli.PrintJSON(env.Stdout, remotesJSON(remotes))
		}
		width := 0
		for _, rem := range remotes {
			width = max(width, len(rem.Name))
		}
		for _, rem := range remotes {
			if urls {
				fmt.Fprintf(env.Stdout, "%-*s  %s\n", width, rem.Name, remoteURL(rem))
			} else {
				fmt.Fprintln(env.Stdout, rem.Name)
			}
		}
		return nil
	})
	return c
}

func remoteURL(rem repo.Remote) string {
	if link, ok := rem.Get("metalink"); ok {
		return "metalink=" + link
	}
	return rem.URL()
}

type remoteJSON struct {
	Name    string            `json:"name"`
	URL     string            `json:"url"`
	File    string            `json:"file,omitempty"`
	Options map[string]string `json:"options"`
}

func remotesJSON(remotes []repo.Remote) []remoteJSON {
	list := []remoteJSON{}
	for _, rem := range remotes {
		j := remoteJSON{Name: rem.Name, URL: remoteURL(rem), File: rem.File, Options: map[string]string{}}
		for _, o := range rem.Options {
			j.Options[o.Key] = o.Value
		}
		list = append(list, j)
	}
	return list
}

func newRemoteShowURL(env *cli.Env) *cobra.Command {
	c := &cobra.Command{Use: "show-url NAME", Short: "Show remote repository URL", Args: need(1, 1, "NAME must be specified")}
	at := addRepo(c)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		rem, err := findRemote(r, args[0])
		if err != nil {
			return err
		}
		fmt.Fprintln(env.Stdout, remoteURL(rem))
		return nil
	})
	return c
}

func newRemoteRefs(env *cli.Env) *cobra.Command {
	var revision, asJSON bool
	c := &cobra.Command{Use: "refs NAME", Short: "List remote refs", Args: need(1, 1, "NAME must be specified")}
	at := addRepo(c)
	c.Flags().BoolVarP(&revision, "revision", "r", false, "Show the commit of each ref")
	c.Flags().String("cache-dir", "", "Ignored: the summary is not cached in `DIR`")
	cli.AddJSON(c, &asJSON)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		s, err := remoteSummary(env, r, args[0])
		if err != nil {
			return err
		}
		lines := []refLine{}
		for _, ref := range s.Refs {
			lines = append(lines, refLine{Ref: args[0] + ":" + ref.Name, Commit: ref.ID})
		}
		if asJSON {
			return cli.PrintJSON(env.Stdout, lines)
		}
		for _, l := range lines {
			if revision {
				fmt.Fprintf(env.Stdout, "%s\t%s\n", l.Ref, l.Commit)
			} else {
				fmt.Fprintln(env.Stdout, l.Ref)
			}
		}
		return nil
	})
	return c
}

// remoteSummary fetches the summary of a remote, without which its refs cannot be listed.
func remoteSummary(env *cli.Env, r *repo.Repo, name string) (*pull.Summary, error) {
	if _, err := findRemote(r, name); err != nil {
		return nil, err
	}
	s, err := pull.FetchSummary(env.Ctx, r, pull.Options{Remote: name})
	if errors.Is(err, repo.ErrNotFound) {
		return nil, cli.Fail("Remote refs not available; server has no summary file (run `ostree summary -u` there): %w", err)
	}
	return s, err
}

func newRemoteSummary(env *cli.Env) *cobra.Command {
	var o summaryOptions
	c := &cobra.Command{Use: "summary NAME", Short: "Show remote summary", Args: need(1, 1, "NAME must be specified")}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVar(&o.raw, "raw", false, "Show raw variant data")
	f.BoolVar(&o.listKeys, "list-metadata-keys", false, "List the available metadata keys")
	f.StringVar(&o.key, "print-metadata-key", "", "Print the value of metadata `KEY`")
	f.String("cache-dir", "", "Ignored: the summary is not cached in `DIR`")
	cli.AddJSON(c, &o.json)
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		s, err := remoteSummary(env, r, args[0])
		if err != nil {
			return err
		}
		return printSummary(env.Stdout, s.Summary, o)
	})
	return c
}

func newRemoteImport(env *cli.Env) *cobra.Command {
	var files []string
	var stdin bool
	c := &cobra.Command{Use: "gpg-import NAME [KEY-ID...]", Short: "Import GPG keys", Args: need(1, -1, "NAME must be specified")}
	at := addRepo(c)
	c.Flags().StringArrayVarP(&files, "keyring", "k", nil, "Import keys from the keyring `FILE` (repeatable)")
	c.Flags().BoolVar(&stdin, "stdin", false, "Import keys from standard input")
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		if _, err := findRemote(r, args[0]); err != nil {
			return err
		}
		if stdin == (len(files) > 0) {
			return errors.New("name the keys with --keyring=FILE or give them with --stdin, one of both")
		}
		var keys []byte
		if stdin {
			data, err := io.ReadAll(io.LimitReader(env.Stdin, object.MaxMetadataSize))
			if err != nil {
				return err
			}
			keys = data
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			keys = append(keys, data...)
		}
		return importKeys(env, r, args[0], keys, args[1:]...)
	})
	return c
}

// importKeys adds public keys to the key ring of a remote; ids restricts them to those with these fingerprints' ends.
func importKeys(env *cli.Env, r *repo.Repo, name string, data []byte, ids ...string) error {
	count, ring, err := pull.MergeKeys(filepath.Join(r.Path(), name+".trustedkeys.gpg"), data, func(fingerprint string) bool {
		return len(ids) == 0 || slices.ContainsFunc(ids, func(id string) bool {
			return strings.HasSuffix(fingerprint, strings.ToUpper(strings.TrimPrefix(id, "0x")))
		})
	})
	if err != nil {
		return fmt.Errorf("importing keys for remote %q: %w", name, err)
	}
	if err := durable.WriteFile(filepath.Join(r.Path(), name+".trustedkeys.gpg"), ring, 0o644); err != nil {
		return err
	}
	plural := "s"
	if count == 1 {
		plural = ""
	}
	fmt.Fprintf(env.Stdout, "Imported %d GPG key%s to remote \"%s\"\n", count, plural, name)
	return nil
}
