// Package distro makes the distribution that photree is tested with: two releases, v1 and v2, of a small systemd-based
// distribution of RPM packages, out of the packages of Debian 12.
//
// Where Debian's main and security archives hold two versions of a package (the kernel, glibc, systemd and openssl among
// them), v1 has the older and v2 the newer one, so that v1 to v2 is a real update. Each release is an rpm-md
// repository: packages with relations, scriptlets, users, alternatives, configuration files, hard links and file
// capabilities, made without rpmbuild and createrepo.
//
// Make reads Debian's archives through the machine's apt, on a private state; needs no root. It writes only below the
// cache directory, publishes a finished distribution with one rename, and finds it there the next time without any
// network. The name of the result is a digest of this package's source and of the package list, so that a change of
// either makes a new one. Two callers at the same time make it once.
package distro
