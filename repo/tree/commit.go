package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strconv"
	"time"

	"photree/internal/gvariant"
	"photree/repo"
	"photree/repo/object"
)

// CommitOptions describe a commit.
type CommitOptions struct {
	Write         WriteOptions
	Ref           string     // the head to move; empty makes a commit that no ref names
	Parent        *object.ID // nil: the commit that Ref names, if any; zero id: none
	Subject, Body string
	Metadata      gvariant.Dict
	Detached      gvariant.Dict
	// Sign adds signatures of the bytes of the commit to its detached metadata, before the commit can be seen.
	Sign          func(commit []byte, detached *gvariant.Dict) error
	BindRefs      []string  // further refs to name in ostree.ref-binding
	Sizes         bool      // record how large the objects are
	NoBindings    bool      // leave ostree.ref-binding out
	Timestamp     time.Time // zero: SOURCE_DATE_EPOCH if it is set, else now
	SkipUnchanged bool      // make no commit when the tree is that of the parent; the parent is returned
}

// Commit records dir as a commit, in a transaction of its own. The same directory, options and timestamp give the same
// id on any machine (R6).
func Commit(ctx context.Context, r *repo.Repo, dir string, opts CommitOptions) (object.ID, Stats, error) {
	var st Stats
	id, err := func() (object.ID, error) {
		txn, err := r.Begin(ctx)
		if err != nil {
			return object.ID{}, err
		}
		defer txn.Abort()
		var root, meta object.ID
		if root, meta, st, err = Write(ctx, txn, dir, opts.Write); err != nil {
			return object.ID{}, err
		}
		id, err := WriteCommit(txn, root, meta, opts)
		if err != nil {
			return id, err
		}
		return id, txn.Commit()
	}()
	if err != nil {
		return id, st, fmt.Errorf("committing %s: %w", dir, err)
	}
	return id, st, nil
}

// WriteCommit stages a commit of a tree that is staged or published, and the move of its ref. opts.Write is not used.
func WriteCommit(txn *repo.Txn, root, meta object.ID, opts CommitOptions) (object.ID, error) {
	parent, err := parentOf(txn.Repo(), opts)
	if err != nil {
		return object.ID{}, err
	}
	if opts.SkipUnchanged && !parent.IsZero() {
		old, err := txn.Repo().LoadCommit(parent)
		if err != nil {
			return object.ID{}, err
		}
		if old.Root == root && old.RootMeta == meta {
			return parent, nil
		}
	}
	when, err := timestamp(opts.Timestamp)
	if err != nil {
		return object.ID{}, err
	}
	c := object.Commit{Metadata: slices.Clone(opts.Metadata), Parent: parent, Subject: opts.Subject, Body: opts.Body,
		Timestamp: when, Root: root, RootMeta: meta}
	if !opts.NoBindings {
		bind(&c.Metadata, txn.Repo(), opts)
	}
	if opts.Sizes {
		sizes, err := txn.Sizes(root, meta)
		if err != nil {
			return object.ID{}, err
		}
		c.Metadata.Set("ostree.sizes", sizes)
	}
	id, err := txn.WriteCommit(c)
	detached := slices.Clone(opts.Detached)
	if err == nil && opts.Sign != nil {
		err = opts.Sign(c.Encode(), &detached)
	}
	if err == nil && detached != nil {
		err = txn.SetDetachedMetadata(id, detached)
	}
	if err == nil && opts.Ref != "" {
		remote, name, _ := repo.ParseRefspec(opts.Ref)
		err = txn.SetRef(remote, name, id)
	}
	return id, err
}

func parentOf(r *repo.Repo, opts CommitOptions) (object.ID, error) {
	if opts.Parent != nil {
		return *opts.Parent, nil
	}
	if opts.Ref == "" {
		return object.ID{}, nil
	}
	remote, name, err := repo.ParseRefspec(opts.Ref)
	if err != nil {
		return object.ID{}, err
	}
	id, err := r.Ref(remote, name)
	if errors.Is(err, repo.ErrNotFound) {
		return object.ID{}, nil
	}
	return id, err
}

// bind says in the commit which refs it was made for, so that a server cannot pass it off for another branch.
func bind(d *gvariant.Dict, r *repo.Repo, opts CommitOptions) {
	refs := slices.Clone(opts.BindRefs)
	if opts.Ref != "" {
		refs = append(refs, opts.Ref)
	}
	sort.Strings(refs)
	d.Set("ostree.ref-binding", gvariant.Strings(slices.Compact(refs)))
	// Who names another collection has made the commit for that one.
	if _, given := d.Get("ostree.collection-binding"); given {
		return
	}
	if coll := r.CollectionID(); coll != "" {
		d.Set("ostree.collection-binding", gvariant.String(coll))
	}
}

func timestamp(t time.Time) (uint64, error) {
	if !t.IsZero() {
		return uint64(t.Unix()), nil
	}
	if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if errors.Is(err, strconv.ErrRange) {
			return 0, errors.New("Parsing SOURCE_DATE_EPOCH: Numerical result out of range") //nolint:staticcheck // words that scripts look for
		}
		if err != nil || n < 0 {
			return 0, fmt.Errorf("Failed to convert SOURCE_DATE_EPOCH: %q is not a number of seconds", s) //nolint:staticcheck
		}
		return uint64(n), nil
	}
	return uint64(time.Now().Unix()), nil
}
