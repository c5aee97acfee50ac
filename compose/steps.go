package compose

import (
	"sync"
	"time"
)

// steps measures the steps of a compose and passes them on.
type steps struct {
	mu    sync.Mutex
	log   Log
	done  []StepTime
	name  string
	since time.Time
}

func (s *steps) step(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
	s.name, s.since = name, time.Now()
	if s.log != nil {
		s.log.Step(name)
	}
}

func (s *steps) close() {
	if s.name != "" {
		s.done = append(s.done, StepTime{s.name, time.Since(s.since)})
		s.name = ""
	}
}

func (s *steps) end() []StepTime {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
	return s.done
}

func (s *steps) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log != nil {
		s.log.Note(text)
	}
}

func (s *steps) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log != nil {
		s.log.Warn(text)
	}
}

func (s *steps) progress(done, total int, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log != nil {
		s.log.Progress(done, total, what)
	}
}
