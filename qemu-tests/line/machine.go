package line

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"photree/qemu-tests/distro"
)

// Password is root's on every machine that the line installs.
const Password = "photree"

// Install says how to make a machine.
type Install struct {
	Disk      string // image file, made
	Source    string // repository
	RemoteURL string // where updates come from
	Hostname  string
}

// diskSize holds two deployments of the distribution, their kernels and room to pull a third.
const diskSize = "4G"

// Console is the kernel argument that has a machine talk to the tests.
const Console = "console=ttyS0"

// Install installs a machine onto a disk image with `photree install`.
func (l *Line) Install(ctx context.Context, in Install) error {
	_, err := l.Photree(ctx, "install", "--disk="+in.Disk, "--size="+diskSize, "--source="+in.Source, "--ref="+distro.Ref,
		"--remote-url="+in.RemoteURL, "--hostname="+in.Hostname, "--root-password="+Password, "--karg="+Console)
	return err
}

// ISO makes an installer ISO that installs by itself onto the first NVMe disk.
func (l *Line) ISO(ctx context.Context, iso, repo, remoteURL, hostname string) error {
	kickstart := map[string]any{
		"hostname": hostname,
		"password": map[string]any{"crypted": false, "text": Password},
		"disk":     "/dev/nvme0n1",
		"bootmode": "dualboot",
		"ostree":   map[string]any{"default_repo": true, "repo_url": remoteURL, "repo_ref": distro.Ref},
		"postinstall": []string{
			"echo installed by the kickstart file > /etc/photree-kickstart",
		},
	}
	data, err := json.MarshalIndent(kickstart, "", "  ")
	if err != nil {
		return err
	}
	ks := iso + ".ks.json"
	if err := os.WriteFile(ks, append(data, '\n'), 0o644); err != nil {
		return err
	}
	_, err = l.Photree(ctx, "iso", "--repo="+repo, "--ref="+distro.Ref, "--kickstart="+ks, "--karg="+Console, "--output="+iso)
	return err
}

// BlankDisk makes an empty disk image.
func BlankDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(4 << 30)
}

// Overlay makes a disk image that starts as a copy of another.
func Overlay(ctx context.Context, base, path string) error {
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("making a disk on top of %q: %w\n%s", base, err, out)
	}
	return nil
}

// Server is a running `photree serve`.
type Server struct {
	Port string
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended
	err  error         // valid then
}

// GuestURL is the address of a repository of the served directory as machines see it.
func (s *Server) GuestURL(repo string) string { return "http://10.0.2.2:" + s.Port + "/" + repo }

// HostURL is the same as programs on this host see it.
func (s *Server) HostURL(repo string) string { return "http://127.0.0.1:" + s.Port + "/" + repo }

// Serve serves a directory of repositories until the context ends or Close.
func (l *Line) Serve(ctx context.Context, dir, accessLog string) (*Server, error) {
	tmp, err := os.MkdirTemp(l.options.Work, "serve-")
	if err != nil {
		return nil, err
	}
	portFile := filepath.Join(tmp, "port")
	cmd := exec.CommandContext(ctx, filepath.Join(l.Bin, "photree"), "serve", dir, "--listen=127.0.0.1:0", "--port-file="+portFile, "--access-log="+accessLog)
	complaints, err := os.Create(filepath.Join(tmp, "stderr"))
	if err != nil {
		return nil, err
	}
	defer complaints.Close()
	cmd.Stderr = complaints
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the server: %w", err)
	}
	s := &Server{cmd: cmd, done: make(chan struct{})}
	go func() {
		s.err = cmd.Wait()
		close(s.done)
	}()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if data, err := os.ReadFile(portFile); err == nil && len(data) > 0 {
			s.Port = strings.TrimSpace(string(data))
			return s, nil
		}
		select {
		case <-s.done:
			text, _ := os.ReadFile(complaints.Name())
			return nil, fmt.Errorf("serving %q: %w\n%s", dir, s.err, text)
		default:
		}
	}
	s.Close()
	return nil, fmt.Errorf("serving %q: no port after 30 seconds", dir)
}

// Close ends the server.
func (s *Server) Close() {
	// It has ended already, or it ends now.
	_ = s.cmd.Process.Kill()
	<-s.done
}
