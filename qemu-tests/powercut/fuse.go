package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// backing is what a file of a fuseDir holds.
type backing interface {
	Size() int64
	ReadAt(p []byte, off int64)
	WriteAt(p []byte, off int64)
	Flush()
}

// fuseDir is a mounted file system with a few files of fixed size, served by this process: a loop device on one of them
// gives a disk each of whose writes and flushes passes through here, in order.
type fuseDir struct {
	dir   string
	fd    int
	files []fuseFile
	ended chan struct{}
}

type fuseFile struct {
	name string
	data backing
}

// Operations of the FUSE protocol that a loop device and a look-up need (linux/fuse.h).
const (
	opLookup  = 1
	opForget  = 2
	opGetattr = 3
	opSetattr = 4
	opSymlink = 6
	opOpen    = 14
	opRead    = 15
	opWrite   = 16
	opStatfs  = 17
	opRelease = 18
	opFsync   = 20
	opFlush   = 25
	opInit    = 26
	opIntr    = 36
	opDestroy = 38
	opForgets = 42
)

const (
	inHeader  = 40
	outHeader = 16
	maxIO     = 1 << 20
)

var le = binary.LittleEndian

// serveFuse mounts a fuseDir at dir, which exists.
func serveFuse(dir string, files ...fuseFile) (*fuseDir, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening /dev/fuse: %w", err)
	}
	opts := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := unix.Mount("powercut", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("mounting a FUSE file system (as root?): %w", err)
	}
	d := &fuseDir{dir: dir, fd: fd, files: files, ended: make(chan struct{})}
	go d.serve()
	return d, nil
}

// close unmounts the directory.
func (d *fuseDir) close() error {
	err := unmountSoon(d.dir)
	if err != nil {
		err = errors.Join(fmt.Errorf("unmounting %s: %w", d.dir, err), unix.Unmount(d.dir, unix.MNT_DETACH))
	}
	<-d.ended
	return errors.Join(err, unix.Close(d.fd))
}

func (d *fuseDir) serve() {
	defer close(d.ended)
	buf := make([]byte, maxIO+64<<10)
	reply := make([]byte, outHeader+maxIO)
	for {
		n, err := unix.Read(d.fd, buf)
		switch {
		case err == unix.EINTR, err == unix.EAGAIN, err == unix.ENOENT:
			continue
		case err != nil || n < inHeader:
			return // ENODEV: unmounted
		}
		op, unique, node := le.Uint32(buf[4:]), le.Uint64(buf[8:]), le.Uint64(buf[16:])
		if op == opForget || op == opForgets || op == opIntr {
			continue
		}
		size, errno := d.do(op, node, buf[inHeader:n], reply[outHeader:])
		le.PutUint32(reply, uint32(outHeader+size))
		le.PutUint32(reply[4:], uint32(-int32(errno)))
		le.PutUint64(reply[8:], unique)
		if _, err := unix.Write(d.fd, reply[:outHeader+size]); err != nil && err != unix.ENOENT {
			fmt.Fprintf(os.Stderr, "powercut: answering the kernel: %v\n", err)
			return
		}
	}
}

// do carries one operation out and gives the size of its answer.
func (d *fuseDir) do(op uint32, node uint64, in, out []byte) (int, unix.Errno) {
	switch op {
	case opInit:
		clear(out[:64])
		le.PutUint32(out, 7)
		le.PutUint32(out[4:], 31)
		le.PutUint32(out[8:], maxIO)
		le.PutUint32(out[12:], 1|1<<5|1<<22) // asynchronous reads, big writes, max_pages
		le.PutUint16(out[16:], 64)
		le.PutUint16(out[18:], 48)
		le.PutUint32(out[20:], maxIO)
		le.PutUint32(out[24:], 1)
		le.PutUint16(out[28:], maxIO/4096)
		return 64, 0
	case opLookup:
		for i, f := range d.files {
			if f.name == string(in[:len(in)-1]) {
				clear(out[:128])
				le.PutUint64(out, uint64(i+2))
				le.PutUint64(out[16:], 3600)
				le.PutUint64(out[24:], 3600)
				d.attr(uint64(i+2), out[40:])
				return 128, 0
			}
		}
		return 0, unix.ENOENT
	case opGetattr, opSetattr:
		clear(out[:104])
		le.PutUint64(out, 3600)
		d.attr(node, out[16:])
		return 104, 0
	case opOpen:
		clear(out[:16])
		le.PutUint32(out[8:], 1) // direct: no page cache between the loop device and here
		return 16, 0
	case opStatfs:
		clear(out[:80])
		le.PutUint32(out[40:], 4096)
		le.PutUint32(out[44:], 255)
		return 80, 0
	case opRelease, opFlush, opDestroy:
		return 0, 0
	case opRead, opWrite, opFsync:
		if node < 2 || node-2 >= uint64(len(d.files)) {
			return 0, unix.EISDIR
		}
		return transfer(d.files[node-2].data, op, in, out)
	}
	if op == opSymlink {
		return 0, unix.EPERM // as vfat
	}
	return 0, unix.ENOSYS
}

func transfer(data backing, op uint32, in, out []byte) (int, unix.Errno) {
	if op == opFsync {
		data.Flush()
		return 0, 0
	}
	off, size := int64(le.Uint64(in[8:])), int64(le.Uint32(in[16:]))
	size = max(0, min(size, data.Size()-off))
	if op == opRead {
		data.ReadAt(out[:size], off)
		return int(size), 0
	}
	if size == 0 {
		return 0, unix.ENOSPC
	}
	data.WriteAt(in[40:40+size], off)
	le.PutUint64(out, uint64(size))
	return 8, 0
}

func (d *fuseDir) attr(node uint64, out []byte) {
	le.PutUint64(out, node)
	le.PutUint32(out[60:], unix.S_IFDIR|0o700)
	if node >= 2 && node-2 < uint64(len(d.files)) {
		size := uint64(d.files[node-2].data.Size())
		le.PutUint64(out[8:], size)
		le.PutUint64(out[16:], size/512)
		le.PutUint32(out[60:], unix.S_IFREG|0o600)
	}
	le.PutUint32(out[64:], 1)
	le.PutUint32(out[80:], 4096)
}
