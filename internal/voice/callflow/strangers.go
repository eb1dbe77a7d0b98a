package callflow

import (
	"sync"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

const (
	strangerWindow = time.Minute
	strangerTimes  = 5
	strangersKnown = 16_384
)

// strangers bounds what callers who are not let in cost: of one
// caller's refusals on one number for one reason the first five in a minute are
// written down, the others are counted. Of more callers than it can remember at
// once none is written.
type strangers = recent[refusedCaller]

// recent counts how often somebody has come within a minute.
type recent[K comparable] struct {
	mu    sync.Mutex
	seen  map[K]seen
	swept time.Time // when room was last looked for
}

type refusedCaller struct {
	virtual, caller e164.Number
	why             masking.Refusal
}

type seen struct {
	since time.Time
	times int
}

// over reports whether the window that began at s.since has passed; a clock that
// was set back ends it as well.
func (s seen) over(now time.Time) bool {
	return now.Before(s.since) || now.Sub(s.since) >= strangerWindow
}

// worthWriting reports whether this refusal is to be written.
func (s *recent[K]) worthWriting(who K, now time.Time) bool {
	return fewEnough(s.count(who, now))
}

func fewEnough(times int, known bool) bool { return known && times <= strangerTimes }

// count counts the caller once more and gives how often he has come within the
// window; known is false for one for whom there is no room.
func (s *recent[K]) count(who K, now time.Time) (times int, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, known := s.seen[who]
	if known && !v.over(now) {
		v.times++
		s.seen[who] = v
		return v.times, true
	}
	if !known && len(s.seen) >= strangersKnown && !s.makeRoom(now) {
		return 0, false
	}
	if s.seen == nil {
		s.seen = map[K]seen{}
	}
	s.seen[who] = seen{now, 1}
	return 1, true
}

// next gives what count would, and counts nothing.
func (s *recent[K]) next(who K, now time.Time) (times int, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, known := s.seen[who]
	switch {
	case known && !v.over(now):
		return v.times + 1, true
	case known || len(s.seen) < strangersKnown:
		return 1, true
	}
	if since := now.Sub(s.swept); since >= 0 && since < time.Second {
		return 0, false
	}
	for _, v := range s.seen {
		if v.over(now) {
			return 1, true
		}
	}
	return 0, false
}

// makeRoom forgets those whose window is over, once a second at most: a flood
// must not make us search for every one of its callers.
func (s *recent[K]) makeRoom(now time.Time) bool {
	if since := now.Sub(s.swept); since >= 0 && since < time.Second {
		return false
	}
	s.swept = now
	for k, v := range s.seen {
		if v.over(now) {
			delete(s.seen, k)
		}
	}
	return len(s.seen) < strangersKnown
}
