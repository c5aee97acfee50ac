package ostree

import (
	"context"
	"errors"
	"fmt"

	"photree/cli"
	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
	"photree/repo/sign"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func init() {
	register(newSign)
	register(newGPGSign)
}

// signFlags are the options by which `commit` and `summary` sign what they make.
type signFlags struct {
	gpg, keys, files []string
	home, typ        string
}

func (s *signFlags) add(f *pflag.FlagSet, what string) {
	f.StringArrayVar(&s.gpg, "gpg-sign", nil, "GPG `KEY-ID` to sign the "+what+" with")
	f.StringVar(&s.home, "gpg-homedir", "", "GPG `HOMEDIR` to use when looking for keyrings")
	f.StringArrayVar(&s.keys, "sign", nil, "`KEY` to sign the "+what+" with: the secret key itself, in base64")
	f.StringArrayVar(&s.files, "sign-from-file", nil, "Sign the "+what+" with the secret keys of `FILE`")
	addSignType(f, &s.typ)
}

func addSignType(f *pflag.FlagSet, typ *string) {
	f.StringVar(typ, "sign-type", sign.Ed25519, "Signature `TYPE` to use: ed25519 or spki")
}

// signers returns whoever is to sign; there may be nobody.
func (s *signFlags) signers() ([]sign.Signer, error) {
	var out []sign.Signer
	for _, id := range s.gpg {
		out = append(out, sign.NewGPG(s.home, id))
	}
	raw, err := rawSigners(s.typ, s.keys, s.files...)
	return append(out, raw...), err
}

// rawSigners returns signers with secret keys that are given and that are in files.
func rawSigners(typ string, keys []string, files ...string) ([]sign.Signer, error) {
	var out []sign.Signer
	for _, key := range keys {
		s, err := sign.NewSecret(typ, key)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	for _, file := range files {
		more, err := sign.LoadSecrets(typ, file)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// signStaged signs a commit of a transaction before anybody can see it. detached is what else its detached metadata
// holds. A commit that is there already, because the same was committed before, keeps the signatures that it has.
func signStaged(ctx context.Context, txn *repo.Txn, id object.ID, detached gvariant.Dict, signers []sign.Signer) error {
	if len(signers) == 0 {
		return nil
	}
	data, err := txn.LoadMetadata(object.Name{ID: id, Kind: object.KindCommit})
	if err != nil {
		return err
	}
	d, err := txn.Repo().DetachedMetadata(id)
	if err != nil {
		return err
	}
	for _, e := range detached {
		d.Set(e.Key, unwrap(e.Value))
	}
	for _, s := range signers {
		already, err := sign.SignedBy(ctx, s, sign.Signatures(d, s.Key()))
		if err != nil {
			return err
		}
		if already {
			continue
		}
		if err := sign.Sign(ctx, &d, data, s); err != nil {
			return err
		}
	}
	return txn.SetDetachedMetadata(id, d)
}

type signOptions struct {
	remove, verify      bool
	typ, file, keysDirs string
}

func newSign(env *cli.Env) *cobra.Command {
	var o signOptions
	c := &cobra.Command{Use: "sign COMMIT KEY-ID...", Short: "Sign a commit",
		Long: "Sign a commit with secret keys, or verify its signatures with public ones. A KEY-ID is the key itself: base64 for\n" +
			"ed25519, base64 of DER or PEM for spki. To verify without naming keys, those of the system are used:\n" +
			"trusted.TYPE and trusted.TYPE.d in /etc/ostree and /usr/share/ostree, less those of revoked.TYPE and revoked.TYPE.d.",
		Args: need(1, -1, "Need a COMMIT to sign or verify")}
	at := addRepo(c)
	f := c.Flags()
	f.BoolVarP(&o.remove, "delete", "d", false, "Delete signatures having any of the KEY-IDs, which are public keys")
	f.BoolVar(&o.verify, "verify", false, "Verify signatures")
	f.StringVarP(&o.typ, "sign-type", "s", sign.Ed25519, "Signature `TYPE` to use: ed25519 or spki")
	f.StringVar(&o.file, "keys-file", "", "Read keys from `FILE`")
	f.StringVar(&o.keysDirs, "keys-dir", "", "Use the trusted.TYPE and revoked.TYPE files of `DIR`, not those of the system")
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		if err := sign.CheckType(o.typ); err != nil {
			return err
		}
		id, err := r.ResolveRev(args[0])
		if err != nil {
			return err
		}
		switch {
		case o.verify:
			return verifyCommit(env, r, id, o, args[1:])
		case o.remove:
			return deleteRaw(env, r, id, o, args[1:])
		}
		var files []string
		if o.file != "" {
			files = []string{o.file}
		}
		signers, err := rawSigners(o.typ, args[1:], files...)
		if err != nil {
			return err
		}
		if len(signers) == 0 {
			return cli.UsageError(c, "Need at least one KEY-ID to sign with")
		}
		return sign.Commit(env.Ctx, r, id, signers...)
	})
	return c
}

// publicKeys gathers the keys to verify with.
func (o *signOptions) publicKeys(keys []string) (*sign.KeySet, error) {
	set := &sign.KeySet{Type: o.typ}
	for _, key := range keys {
		if err := set.Add(key); err != nil {
			return nil, err
		}
	}
	if o.file != "" {
		if err := set.AddFile(o.file); err != nil {
			return nil, err
		}
	}
	dirs := sign.SystemDirs()
	if o.keysDirs != "" {
		dirs = []string{o.keysDirs}
	} else if len(keys) > 0 || o.file != "" {
		return set, nil
	}
	if err := set.AddDirs(dirs...); err != nil {
		return nil, err
	}
	return set, set.RemoveRevoked(dirs...)
}

func verifyCommit(env *cli.Env, r *repo.Repo, id object.ID, o signOptions, keys []string) error {
	data, err := r.LoadMetadata(object.Name{ID: id, Kind: object.KindCommit})
	if err != nil {
		return err
	}
	detached, err := r.DetachedMetadata(id)
	if err != nil {
		return err
	}
	set, err := o.publicKeys(keys)
	if err != nil {
		return err
	}
	good, err := set.Verify(data, sign.Signatures(detached, sign.MetadataKey(o.typ)))
	if err != nil {
		return cli.Fail("No valid signatures found: %w", err)
	}
	_, err = fmt.Fprintln(env.Stdout, good)
	return err
}

func deleteRaw(env *cli.Env, r *repo.Repo, id object.ID, o signOptions, keys []string) error {
	if len(keys) == 0 && o.file == "" {
		return errors.New("name the public keys whose signatures are to be deleted")
	}
	set, err := o.publicKeys(keys)
	if err != nil {
		return err
	}
	n, err := sign.DeleteRaw(env.Ctx, r, id, set)
	if err == nil {
		fmt.Fprintf(env.Stdout, "Signatures deleted: %d\n", n)
	}
	return err
}

func newGPGSign(env *cli.Env) *cobra.Command {
	var remove bool
	var home string
	c := &cobra.Command{Use: "gpg-sign COMMIT KEY-ID...", Short: "Sign a commit"}
	c.Args = func(c *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return cli.UsageError(c, "Need a COMMIT to sign")
		case 1:
			return cli.UsageError(c, "Need at least one GPG KEY-ID to sign with")
		}
		return nil
	}
	at := addRepo(c)
	c.Flags().BoolVarP(&remove, "delete", "d", false, "Delete signatures having any of the GPG KEY-IDs")
	c.Flags().StringVar(&home, "gpg-homedir", "", "GPG `HOMEDIR` to use when looking for keyrings")
	c.RunE = withRepo(env, at, func(r *repo.Repo, args []string) error {
		id, err := r.ResolveRev(args[0])
		if err != nil {
			return err
		}
		if remove {
			ring, err := allKeys(r, home)
			if err != nil {
				return err
			}
			n, err := sign.DeleteOpenPGP(env.Ctx, r, id, ring, args[1:]...)
			if err == nil {
				fmt.Fprintf(env.Stdout, "Signatures deleted: %d\n", n)
			}
			return err
		}
		var signers []sign.Signer
		for _, key := range args[1:] {
			signers = append(signers, sign.NewGPG(home, key))
		}
		return sign.Commit(env.Ctx, r, id, signers...)
	})
	return c
}
