package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"photree/repo"
	"photree/repo/object"
)

// want is one commit to pull and the ref that shall name it.
type want struct {
	ref      string // empty for a commit that was asked for by its id
	commit   object.ID
	before   object.ID // what the ref names now
	notOlder object.ID // the commit must not be older than this one, where set
}

// resolve finds the commits that were asked for.
func resolve(ctx context.Context, r *repo.Repo, o *Options, remote remoteConfig, src source, keys *verifier) ([]want, *Summary, error) {
	summary, err := loadSummary(ctx, r, o, src, keys)
	if err != nil && (!errors.Is(err, repo.ErrNotFound) || keys.summaryRequired()) {
		return nil, nil, err
	}
	names := o.Refs
	if len(names) == 0 && !o.Mirror && !remote.plain {
		if names = remote.branches; len(names) == 0 {
			return nil, nil, fmt.Errorf("remote %q has no branches configured: name the refs to pull%s", o.Remote, offered(summary))
		}
	}
	if len(names) == 0 {
		if summary == nil {
			return nil, nil, fmt.Errorf("the server has no summary, so its refs are not known: "+
				"name the refs to pull, or run `ostree summary -u` on the server (%w)", err)
		}
		for _, ref := range summary.Refs {
			names = append(names, ref.Name)
		}
	}
	var wanted []want
	for _, name := range names {
		w, err := resolveOne(ctx, src, keys, summary, remote.collection, name)
		if err != nil {
			return nil, nil, err
		}
		if slices.ContainsFunc(wanted, func(x want) bool { return x.ref == w.ref && (w.ref != "" || x.commit == w.commit) }) {
			continue
		}
		if err := w.compare(r, o); err != nil {
			return nil, nil, err
		}
		wanted = append(wanted, w)
	}
	return wanted, summary, nil
}

// resolveOne reads REF, REF@COMMIT or COMMIT.
func resolveOne(ctx context.Context, src source, keys *verifier, summary *Summary, collection, name string) (want, error) {
	if object.IsIDString(name) {
		id, err := object.ParseID(name)
		return want{commit: id}, err
	}
	if ref, commit, ok := strings.Cut(name, "@"); ok {
		id, err := object.ParseID(commit)
		if err == nil {
			err = repo.CheckRefName(ref)
		}
		if err != nil {
			return want{}, fmt.Errorf("reading %q: %w", name, err)
		}
		return want{ref: ref, commit: id}, nil
	}
	if err := repo.CheckRefName(name); err != nil {
		return want{}, err
	}
	if summary != nil {
		if ref, ok := summary.Find(name); ok {
			return want{ref: name, commit: ref.ID}, nil
		}
		// A server may hold refs of collections besides its own.
		if ref, ok := summary.FindInCollection(collection, name); ok && collection != "" {
			return want{ref: name, commit: ref.ID}, nil
		}
		// A ref that is newer than the summary is on the server all the same; but only a signed summary may be believed
		// where the remote asks for that.
		if keys.summaryRequired() {
			return want{}, fmt.Errorf("no such branch '%s' in the repository's summary%s", name, offered(summary))
		}
	}
	id, err := src.ref(ctx, name)
	if errors.Is(err, errNotFound) || errors.Is(err, repo.ErrNotFound) {
		return want{}, fmt.Errorf("ref %q: %w%s", name, err, offered(summary))
	}
	return want{ref: name, commit: id}, err
}

// offered names some refs of the server, for an error about one that it does not have.
func offered(summary *Summary) string {
	if summary == nil || len(summary.Refs) == 0 {
		return ""
	}
	const some = 5
	var names []string
	for _, ref := range summary.Refs[:min(some, len(summary.Refs))] {
		names = append(names, ref.Name)
	}
	if len(summary.Refs) > some {
		names = append(names, "…")
	}
	return "; the server offers " + strings.Join(names, ", ")
}

// compare notes what the ref names now, and what the new commit must not be older than.
func (w *want) compare(r *repo.Repo, o *Options) error {
	if w.ref != "" {
		before, err := r.Ref(o.refRemote(), w.ref)
		if err != nil && !errors.Is(err, repo.ErrNotFound) {
			return err
		}
		w.before = before
	}
	if o.TimestampCheck {
		w.notOlder = w.before
	}
	if o.TimestampCheckFrom != "" {
		id, err := r.ResolveRev(o.TimestampCheckFrom)
		if err != nil {
			return fmt.Errorf("finding the commit to compare with: %w", err)
		}
		w.notOlder = id
	}
	return nil
}

// refRemote is the remote that pulled refs are filed under; empty for heads.
func (o *Options) refRemote() string {
	if o.Mirror {
		return ""
	}
	return o.Remote
}
