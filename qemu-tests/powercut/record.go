package main

import (
	"compress/gzip"
	"encoding/gob"
	"fmt"
	"os"
	"sync"
)

// The disks of a machine.
const (
	rootDisk = iota
	bootDisk
	disks
)

var diskNames = [disks]string{"root", "boot"}

// event is one write or flush, in the order in which the disks got them.
type event struct {
	Disk  int
	Flush bool
	Off   int64
	Data  []byte
}

// recording is what a workload did to the disks.
type recording struct {
	Workload, Layout string
	Events           []event
	// Marks[0] is 0, Marks[i] the number of events when command i had returned.
	Marks []int
	// Sectors says what each disk writes whole or not at all.
	Sectors [disks]int

	base [disks]*image // nil: the machine has no such disk
}

// recorder is the content of a disk whose writes are recorded.
type recorder struct {
	*image
	disk int
	log  *eventLog
}

type eventLog struct {
	mu     sync.Mutex
	on     bool
	events []event
}

func (l *eventLog) add(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on {
		l.events = append(l.events, e)
	}
}

func (l *eventLog) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.events)
}

func (r *recorder) WriteAt(p []byte, off int64) {
	r.image.WriteAt(p, off)
	r.log.add(event{Disk: r.disk, Off: off, Data: append([]byte(nil), p...)})
}

func (r *recorder) Flush() { r.log.add(event{Disk: r.disk, Flush: true}) }

// stored is the form of a recording in a file.
type stored struct {
	Recording recording
	Sizes     [disks]int64
	Chunks    [disks]map[int][]byte
}

// save keeps a recording for a later look at single points.
func (r *recording) save(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	s := stored{Recording: *r}
	for d, base := range r.base {
		if base == nil {
			continue
		}
		s.Sizes[d], s.Chunks[d] = base.size, map[int][]byte{}
		for i, c := range base.chunks {
			if c != nil {
				s.Chunks[d][i] = c
			}
		}
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := gob.NewEncoder(z).Encode(s); err != nil {
		return fmt.Errorf("writing recording %s: %w", path, err)
	}
	if err := z.Close(); err != nil {
		return err
	}
	return f.Close()
}

// loadRecording reads what save wrote.
func loadRecording(path string) (*recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("reading recording %s: %w", path, err)
	}
	var s stored
	if err := gob.NewDecoder(z).Decode(&s); err != nil {
		return nil, fmt.Errorf("reading recording %s: %w", path, err)
	}
	for d, chunks := range s.Chunks {
		if s.Sizes[d] == 0 {
			continue
		}
		base := newImage(s.Sizes[d])
		for i, c := range chunks {
			base.chunks[i] = c
		}
		s.Recording.base[d] = base
	}
	return &s.Recording, nil
}
