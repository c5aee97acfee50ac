// Package repomd reads rpm-md repositories: .repo files, mirror lists, metalinks,
// repomd.xml, the primary and filelists indexes, and it downloads packages.
//
// It reads from file: and http(s): URLs. Nothing is parsed past a size limit or
// before its digest holds (R7): repomd.xml names the digest of each index, an
// index that of each package. Downloads are written beside their final name and
// renamed after the check, so a cache directory never holds a wrong file.
//
// It does not decide what is installed, and it verifies no OpenPGP signatures.
package repomd

import (
	"context"
	"errors"
	"net/http"

	"photree/compose/rpm"
)

// Config is one section of a .repo file, variables replaced.
type Config struct {
	ID                 string
	Name               string
	BaseURLs           []string
	MirrorList         string
	Metalink           string
	Enabled            bool
	GPGCheck           bool
	RepoGPGCheck       bool
	GPGKeys            []string
	SkipIfUnavailable  bool
	Priority           int // 99 unless stated; lower wins
	Exclude            []string
	IncludePkgs        []string
	SSLVerify          bool
	Username, Password string
	File               string // where it was read
	Line               int
}

// LoadConfigs reads every *.repo file of a directory, in the order of names. An
// id that comes twice is an error. vars replace $releasever, $basearch and
// others in all values; ${name} is accepted too.
func LoadConfigs(dir string, vars map[string]string) ([]Config, error) {
	return nil, errors.New("loading")
}

// ParseConfig reads one .repo file; name is for messages.
func ParseConfig(name string, data []byte, vars map[string]string) ([]Config, error) {
	return nil, errors.New("parsing")
}

// Select gives the configurations with the wanted ids, in that order, whether
// enabled or not. dir is for the message that names an unknown id.
func Select(configs []Config, ids []string, dir string) ([]Config, error) {
	return nil, errors.New("selecting")
}

// Options change how a repository is read. The zero value works.
type Options struct {
	// CacheDir keeps indexes and packages, keyed by repository id. Empty: a
	// cache is not kept and Download fails.
	CacheDir string
	// CacheOnly uses no network: what is not cached is an error.
	CacheOnly bool
	// Client is used for http and https; nil is a client with sane timeouts.
	Client *http.Client
	// Retries of a request that failed for a reason that may pass; 0 means 3,
	// negative none.
	Retries int
	// Workers is the number of parallel downloads; 0 means 4.
	Workers int
	// Progress, when set, is told of each download; it is called from several
	// goroutines, one call at a time.
	Progress func(Progress)
}

// Progress is the state of a download.
type Progress struct {
	Repo        string
	Name        string // file that was finished or is under way
	Done, Total int    // packages
	Bytes       int64  // so far
	TotalBytes  int64
}

// Package is one package of a repository, as its primary index describes it.
type Package struct {
	rpm.NEVRA
	rpm.Relations
	Files []string // only those that primary lists, until LoadFiles

	Repo          *Repo
	Location      string // relative to the repository, or a URL
	ChecksumType  string // "sha256", ...
	Checksum      string // hex, of the package file
	Size          uint64 // of the package file
	InstalledSize uint64
	BuildTime     int64
	Summary       string
	SourceRPM     string
}

// Repo is an opened repository.
type Repo struct {
	Config Config
}

// Open fetches and reads the repository's repomd.xml and primary index.
func Open(ctx context.Context, cfg Config, opts Options) (*Repo, error) {
	return nil, errors.New("opening")
}

// ID is the id of the repository.
func (r *Repo) ID() string { return r.Config.ID }

// Timestamp is when the repository was made, in seconds since 1970: the newest
// timestamp of its indexes. It is what rpmostree.rpmmd-repos records.
func (r *Repo) Timestamp() uint64 { return 0 }

// Checksum is the SHA-256 of repomd.xml, in hex.
func (r *Repo) Checksum() string { return "" }

// Packages are all packages, in the order of the index.
func (r *Repo) Packages() []*Package { return nil }

// FindFiles gives the packages that contain each of the paths. It fetches the
// filelists index, which primary makes unnecessary in most cases.
func (r *Repo) FindFiles(ctx context.Context, paths []string) (map[string][]*Package, error) {
	return nil, errors.New("finding")
}

// Download fetches packages of one or more repositories into their caches and
// returns the path of each. A cached file is checked again before it is used.
func Download(ctx context.Context, pkgs []*Package, opts Options) ([]string, error) {
	return nil, errors.New("downloading")
}
