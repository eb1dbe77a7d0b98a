package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"tandem/internal/masking"
)

// announcements are those of a server that plays whatever begins with RIFF.
type announcements struct{}

func (announcements) Check(file []byte) error {
	if !bytes.HasPrefix(file, []byte("RIFF")) {
		return errors.New("no sound that can be read: prompts must be WAV files")
	}
	return nil
}

func (announcements) Names() []string     { return []string{"enter_pin", "recorded"} }
func (announcements) Languages() []string { return []string{"en", "hi"} }

func (announcements) Builtin(language, name string) ([]byte, bool) {
	return []byte("RIFF of ours: " + language + " " + name), language != "hi" || name != "recorded"
}

// routing is a voice plane that says what it is told to.
type routing struct {
	says masking.Explanation
	err  error
	of   masking.TenantID // who was told
	ask  masking.Ask
	pin  masking.PIN
}

func (r *routing) Explain(_ context.Context, of masking.TenantID, a masking.Ask, pin masking.PIN) (masking.Explanation, error) {
	r.of, r.ask, r.pin = of, a, pin
	return r.says, r.err
}

// sounds are a blob store in memory.
type sounds struct {
	mu    sync.Mutex
	files map[string]string
	away  error // what everything fails with
	open  int
}

// opened is one that is being read.
type opened struct {
	*bytes.Reader
	of *sounds
}

func (s *sounds) Open(_ context.Context, r masking.Recording) (io.ReadSeekCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, ok := s.files[r.Key]
	switch {
	case s.away != nil:
		return nil, s.away
	case !ok:
		return nil, masking.ErrNotFound()
	}
	s.open++
	return opened{bytes.NewReader([]byte(file)), s}, nil
}

func (o opened) Close() error {
	o.of.mu.Lock()
	defer o.of.mu.Unlock()
	o.of.open--
	return nil
}

func (s *sounds) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away == nil {
		delete(s.files, key)
	}
	return s.away
}

// state tells how many files there are, and how many are open.
func (s *sounds) state() (files, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files), s.open
}

func (s *sounds) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = err
}

// sender sends nothing; it notes what it was to send.
type sender struct {
	mu     sync.Mutex
	nudges int
	tested []masking.Event
	full   bool
}

func (s *sender) Nudge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nudges++
}

func (s *sender) Test(_ context.Context, w masking.Webhook, e masking.Event, _ *time.Location) (masking.DeliveryAttempt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full {
		return masking.DeliveryAttempt{}, masking.ErrUnavailable()
	}
	s.tested = append(s.tested, e)
	return masking.DeliveryAttempt{At: e.At, Took: 1500 * time.Millisecond, Outcome: masking.OutcomeStatus, Status: 500, Response: "not " + w.URL}, nil
}
