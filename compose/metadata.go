package compose

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"photree/compose/rpm"
	"photree/internal/gvariant"
	"photree/repo/object"
)

// commitMetadata describes the commit in the order and under the names that
// rpm-ostree's commits have.
func (r *run) commitMetadata() gvariant.Dict {
	var d gvariant.Dict
	if r.result.InputHash != "" {
		d.Set("rpmostree.inputhash", gvariant.String(r.result.InputHash))
	}
	if m := r.Treefile.RepoMetadata; m == "" || m == "inline" {
		d.Set("rpmostree.rpmmd-repos", r.repoMetadata())
	}
	if r.result.Version != "" {
		d.Set("version", gvariant.String(r.result.Version))
	}
	d.Set("rpmostree.rpmdb.pkglist", packageList(r.result.Packages))
	if r.result.KVER != "" {
		d.Set("ostree.linux", gvariant.String(r.result.KVER))
		d.Set("ostree.bootable", gvariant.Bool(true))
	}
	for _, k := range sortedKeys(r.Treefile.CommitMetadata) {
		if v, ok := metadataValue(r.Treefile.CommitMetadata[k]); ok {
			d.Set(k, v)
		} else {
			r.log.warn(fmt.Sprintf("add-commit-metadata: %q is of no type that a commit holds", k))
		}
	}
	for _, e := range r.Metadata {
		d.Set(e.Key, e.Value)
	}
	return d
}

// repoMetadata says which state of which repositories was composed from.
func (r *run) repoMetadata() gvariant.Value {
	var repos []gvariant.Value
	for _, x := range r.states {
		repos = append(repos, gvariant.Dict{
			{Key: "id", Value: gvariant.String(x.ID)},
			{Key: "timestamp", Value: gvariant.Uint64(gvariant.BE64(x.Timestamp))},
		}.Value())
	}
	return gvariant.Array("a{sv}", repos...)
}

// dropWrite takes the write bits from programs, so that even root's mistakes
// need a change of mode first.
func dropWrite(info *object.FileInfo) {
	if info.IsRegular() && info.Mode&0o111 != 0 {
		info.Mode &^= 0o222
	}
}

// keepXattrs leaves only the attributes that packages and scripts give to
// files. Labels, access lists and marks of the file system below the work
// directory are the composing machine's (R6).
func keepXattrs(info *object.FileInfo) {
	info.Xattrs = slices.DeleteFunc(slices.Clone(info.Xattrs), func(x object.Xattr) bool {
		return x.Name != "security.capability" && !strings.HasPrefix(x.Name, "user.")
	})
	if len(info.Xattrs) == 0 {
		info.Xattrs = nil
	}
}

// initramfsModules are the drivers that initramfs-args name. The arguments are
// dracut's; those that only tell dracut how to work have no meaning here.
func (r *run) initramfsModules() []string {
	var out []string
	args := r.Treefile.InitramfsArgs
	for i := 0; i < len(args); i++ {
		name, value, ok := strings.Cut(args[i], "=")
		if name != "--add-drivers" && name != "--force-drivers" {
			continue
		}
		if !ok && i+1 < len(args) {
			i++
			value = args[i]
		}
		out = append(out, strings.Fields(value)...)
	}
	return out
}

// packageList is a(sssss): name, epoch, version, release, architecture.
func packageList(pkgs []rpm.NEVRA) gvariant.Value {
	sorted := slices.Clone(pkgs)
	slices.SortFunc(sorted, func(a, b rpm.NEVRA) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Compare(b.EVR), cmp.Compare(a.Arch, b.Arch))
	})
	var list []gvariant.Value
	for _, n := range sorted {
		list = append(list, gvariant.Tuple(gvariant.String(n.Name), gvariant.String(strconv.FormatUint(uint64(n.Epoch), 10)),
			gvariant.String(n.Version), gvariant.String(n.Release), gvariant.String(n.Arch)))
	}
	return gvariant.Array("(sssss)", list...)
}

// metadataValue turns a value of JSON or YAML into one of a commit.
func metadataValue(v any) (gvariant.Value, bool) {
	switch x := v.(type) {
	case string:
		return gvariant.String(x), true
	case bool:
		return gvariant.Bool(x), true
	case int:
		return gvariant.Int64(int64(x)), true
	case int64:
		return gvariant.Int64(x), true
	case uint64:
		return gvariant.Int64(int64(x)), true
	case float64:
		if x == float64(int64(x)) {
			return gvariant.Int64(int64(x)), true
		}
	case []any:
		var list []string
		for _, e := range x {
			s, ok := e.(string)
			if !ok {
				return gvariant.Value{}, false
			}
			list = append(list, s)
		}
		return gvariant.Strings(list), true
	}
	return gvariant.Value{}, false
}

// ReadMetadata reads metadata for a commit from a JSON object in a file.
func ReadMetadata(name string) (gvariant.Dict, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading commit metadata: %w", err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("reading commit metadata %q: %w", name, err)
	}
	var d gvariant.Dict
	for _, k := range sortedKeys(m) {
		v, ok := metadataValue(m[k])
		if !ok {
			return nil, fmt.Errorf("reading commit metadata %q: %q is of no type that a commit holds", name, k)
		}
		d.Set(k, v)
	}
	return d, nil
}

func sortedKeys(m map[string]any) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func sortedNames(pkgs []rpm.NEVRA) []string {
	out := make([]string, len(pkgs))
	for i, n := range pkgs {
		out[i] = n.String()
	}
	slices.Sort(out)
	return out
}

// commitTime is SOURCE_DATE_EPOCH where it is set, else the clock's.
func commitTime() (time.Time, error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		return time.Now().UTC().Truncate(time.Second), nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q, not a number of seconds", s)
	}
	return time.Unix(n, 0).UTC(), nil
}

func fileDigest(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
