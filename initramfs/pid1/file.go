package pid1

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// The files of /proc and /sys are read with system calls alone: package os sets up its poller for each, which costs
// more than all else in the tenth of a second that PID 1 has.

// readFile returns the content of a file; its errors are plain error numbers.
func readFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	size := 512
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size > 4096 {
		size = int(st.Size) + 1
	}
	buf := make([]byte, 0, size)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return buf, err
		}
		buf = buf[:len(buf)+n]
	}
}

// readLine returns the content of a file of one line, "" if it cannot be read.
func readLine(path string) string {
	data, _ := readFile(path)
	return string(bytes.TrimRight(data, "\n"))
}

// list returns the names in a directory, in the kernel's order; none if it cannot be read.
func list(path string) []string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var names []string
	buf := make([]byte, 8192)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return names
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// device reads a block device.
type device struct{ fd int }

func openDevice(path string) (device, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return device{fd}, err
}

func (d device) ReadAt(p []byte, off int64) (int, error) {
	got := 0
	for got < len(p) {
		n, err := unix.Pread(d.fd, p[got:], off+int64(got))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return got, err
		}
		if n == 0 {
			return got, errShort
		}
		got += n
	}
	return got, nil
}

func (d device) Close() { unix.Close(d.fd) }

const errShort = unix.ENXIO
