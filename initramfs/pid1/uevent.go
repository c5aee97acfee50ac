package pid1

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// events is the kernel's stream of device changes.
type events struct{ fd int }

// listen opens the stream. It is opened before the first look at /sys: a device that comes in between is seen twice
// instead of never.
func listen() (*events, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("listening to device events: %w", err)
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listening to device events: %w", err)
	}
	return &events{fd}, nil
}

// uevent is one change.
type uevent struct {
	action, subsystem, modalias, devname string
}

// parseUevent reads "ACTION@PATH" and KEY=VALUE strings that end in NUL bytes.
func parseUevent(data []byte) uevent {
	var u uevent
	for _, field := range strings.Split(string(data), "\x00") {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			continue
		}
		switch key {
		case "ACTION":
			u.action = value
		case "SUBSYSTEM":
			u.subsystem = value
		case "MODALIAS":
			u.modalias = value
		case "DEVNAME":
			u.devname = value
		}
	}
	return u
}

// next returns the events that are there, waiting for the first one until the deadline. lost says that the kernel
// dropped some, so that the caller must look at everything again.
func (e *events) next(deadline time.Time) (list []uevent, lost bool, err error) {
	buf := make([]byte, 16<<10)
	for {
		n, from, err := unix.Recvfrom(e.fd, buf, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ENOBUFS:
			lost = true
			continue
		case err == unix.EAGAIN:
			if len(list) > 0 || lost {
				return list, lost, nil
			}
			wait := time.Until(deadline)
			if wait <= 0 {
				return nil, false, nil
			}
			fds := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, int(wait.Milliseconds())+1); err != nil && err != unix.EINTR {
				return nil, false, fmt.Errorf("waiting for device events: %w", err)
			}
			continue
		case err != nil:
			return nil, false, fmt.Errorf("reading device events: %w", err)
		}
		// Only the kernel (port 0) is to be believed.
		if sa, ok := from.(*unix.SockaddrNetlink); ok && sa.Pid == 0 {
			list = append(list, parseUevent(buf[:n]))
		}
	}
}
