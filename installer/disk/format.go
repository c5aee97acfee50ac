package disk

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// MkfsConfig is the mke2fs.conf that photree formats with, instead of the
// one of the system that the program happens to run on: the features that
// every GRUB 2.06 and kernel since 5.4 can read, blocks of 4 KiB at any size.
const MkfsConfig = `[defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
[fs_types]
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
	}
`

// Mkfs gives the command that makes p's ext4 file system on a device, to be
// run with MKE2FS_CONFIG naming a file with MkfsConfig.
func (p *Part) Mkfs(node string) []string {
	argv := []string{"mkfs.ext4", "-q", "-F", "-t", "ext4", "-U", p.UUID, "-E", "hash_seed=" + p.UUID + ",nodiscard"}
	if p.Label != "" {
		argv = append(argv, "-L", p.Label)
	}
	return append(append(argv, p.MkfsArgs...), node)
}

// WriteSwap writes the header of a swap area.
func (t *Target) WriteSwap(p *Part) error {
	const page = 4096
	id, err := hex.DecodeString(strings.ReplaceAll(p.UUID, "-", ""))
	if err != nil {
		return fmt.Errorf("making swap: %w", err)
	}
	b := make([]byte, page)
	binary.LittleEndian.PutUint32(b[1024:], 1)
	binary.LittleEndian.PutUint32(b[1028:], uint32(p.Size/page-1))
	copy(b[1036:1052], id)
	copy(b[1052:1068], p.Label)
	copy(b[page-10:], "SWAPSPACE2")
	if _, err := t.file.WriteAt(b, p.Start); err != nil {
		return fmt.Errorf("making swap: %w", err)
	}
	return nil
}
