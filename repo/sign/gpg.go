package sign

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// gpg is a secret key in a GnuPG home.
type gpg struct{ home, id string }

// NewGPG returns a signer with the secret key called id of a GnuPG home; the empty home is the user's. It calls gpg, which
// may ask the user for a passphrase through its agent.
func NewGPG(home, id string) Signer { return &gpg{home, id} }

// AlreadySignedError says that there is a signature by the key already.
type AlreadySignedError struct{ ID string }

func (e *AlreadySignedError) Error() string { return "Commit is already signed with GPG key " + e.ID }

func (g *gpg) Key() string { return OpenPGP }

func (g *gpg) Sign(ctx context.Context, data []byte) ([]byte, error) {
	if _, err := g.fingerprints(ctx); err != nil {
		return nil, err
	}
	return g.run(ctx, data, "--detach-sign", "--local-user", g.id, "--output", "-")
}

// fingerprints returns those of the key and its subkeys.
func (g *gpg) fingerprints(ctx context.Context) ([][]byte, error) {
	out, err := g.run(ctx, nil, "--list-secret-keys", "--with-colons", "--fingerprint", "--fingerprint", "--", g.id)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, err
	}
	if err != nil || len(out) == 0 {
		home := g.home
		if home == "" {
			home = "<default>"
		}
		return nil, fmt.Errorf("No gpg key found with ID %s (homedir: %s)", g.id, home) //nolint:staticcheck // ostree's words
	}
	var prints [][]byte
	for line := range strings.SplitSeq(string(out), "\n") {
		fields := strings.Split(line, ":")
		const fingerprint = 9
		if fields[0] != "fpr" || len(fields) <= fingerprint {
			continue
		}
		if raw, err := hex.DecodeString(fields[fingerprint]); err == nil {
			prints = append(prints, raw)
		}
	}
	return prints, nil
}

// SignedBy reports whether one of the OpenPGP signatures was made by the secret key of a signer, or a subkey of it.
func SignedBy(ctx context.Context, s Signer, sigs [][]byte) (bool, error) {
	g, ok := s.(*gpg)
	if !ok {
		return false, nil
	}
	prints, err := g.fingerprints(ctx)
	if err != nil {
		return false, err
	}
	for _, sig := range (&Ring{}).Verify(nil, sigs) {
		for _, p := range prints {
			if matchesKey(sig.KeyID, p) {
				return true, nil
			}
		}
	}
	return false, nil
}

func (g *gpg) run(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	all := []string{"--batch", "--no-tty", "--quiet"}
	if g.home != "" {
		all = append(all, "--homedir", g.home)
	}
	cmd := exec.CommandContext(ctx, "gpg", append(all, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("signing with the OpenPGP key %s: gpg is needed for it: install gnupg: %w", g.id, err)
		}
		return nil, fmt.Errorf("signing with the OpenPGP key %s: %w: %s", g.id, err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}
