package sipua

import (
	"slices"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/quota"
	"tandem/internal/voice/locate"
)

// This file keeps what trunks and their addresses have shown of themselves, and
// says which address may be sent a call.

// trunkState is what a trunk has shown of itself; it outlives a change of its
// settings.
type trunkState struct {
	name  string
	quota *quota.Quota
	mu    sync.Mutex
	live  int // on this node
	spots map[place]*spot
	names map[wanted]locate.Known // what DNS says of its targets
}

// spot is what one address of a trunk has shown: a circuit breaker, open while it
// is down. Calls and OPTIONS feed it alike.
type spot struct {
	mu       sync.Mutex
	failed   int // in a row
	good     int // in a row
	down     bool
	lastGood time.Time
	lastBad  time.Time
	probed   time.Time // when a call last went there to find out
	shut     time.Time // it asked to be left alone until then (Retry-After)
}

// downAfter failures in a row an address is down: calls go there last, if at all.
// upAfter answers in a row, or one call that it took up, it is up again. Where
// OPTIONS does not find that out, one call does every probeEvery.
const (
	downAfter  = 3
	upAfter    = 2
	probeEvery = 30 * time.Second
	// longestShut is how long Retry-After keeps an address unused at most.
	longestShut = 5 * time.Minute
)

// What an answer weighs on the way up.
const (
	toOptions = 1
	toCall    = upAfter
)

// shown is what a final response tells of the address that gave it. Any shows that
// it is at work, be it a refusal, which is of one destination; but for 503 (RFC 3261
// §21.5.4) and those that a proxy gives in the name of who is not there. Where
// somebody rang, 408 and 504 are his. after is how long it asks to be left alone.
func shown(res *sip.Response, rang bool) (worked bool, after time.Duration) {
	switch res.StatusCode {
	case 503:
		return false, headerSeconds(res, "Retry-After")
	case 408, 504:
		return rang, 0
	}
	return true, 0
}

// note keeps whether the address did its part in a call or answered an OPTIONS, what
// that weighs, and how long it asked to be left alone.
func (s *spot) note(worked bool, weight int, after time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if after > 0 {
		s.shut = now.Add(min(after, longestShut))
	}
	if !worked {
		s.failed, s.good, s.lastBad = s.failed+1, 0, now
		s.down = s.down || s.failed >= downAfter
		return
	}
	s.failed, s.good, s.lastGood = 0, s.good+weight, now
	s.down = s.down && s.good < upAfter
}

// openness says what may be sent to an address.
type openness int

// The states of an address for a call.
const (
	open   openness = iota
	last            // down: only if nothing else is left
	closed          // it asked to be left alone
)

// opens reports whether a call may be sent to the address, which then goes there
// if it is to find out. asked says that OPTIONS finds out when it is up again.
func (s *spot) opens(asked bool, now time.Time) openness {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, probe := s.openness(asked, now)
	if probe {
		s.probed = now
	}
	return o
}

// looks says what opens would, and sends nothing there.
func (s *spot) looks(asked bool, now time.Time) openness {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, _ := s.openness(asked, now)
	return o
}

func (s *spot) openness(asked bool, now time.Time) (o openness, probe bool) {
	switch {
	case now.Before(s.shut):
		return closed, false
	case !s.down:
		return open, false
	case !asked && now.Sub(s.lastBad) >= probeEvery && now.Sub(s.probed) >= probeEvery:
		return open, true
	}
	return last, false
}

// Health is how a trunk does, as far as this node has seen.
type Health struct {
	State         string              `json:"state"` // unknown, up, down
	LiveCalls     int                 `json:"live_calls"`
	FailuresInRow int                 `json:"failures_in_row"` // of the address that does best
	LastSuccess   time.Time           `json:"last_success,omitzero"`
	LastFailure   time.Time           `json:"last_failure,omitzero"`
	Targets       []TargetHealth      `json:"targets"`
	Names         []NameHealth        `json:"names,omitempty"` // targets that DNS is asked for
	Registration  *RegistrationHealth `json:"registration,omitempty"`
}

// TargetHealth is how one address of a trunk does.
type TargetHealth struct {
	Address       string    `json:"address"`
	Target        string    `json:"target,omitempty"` // the target that led there, if it is a name
	Transport     string    `json:"transport"`
	State         string    `json:"state"` // unknown, up, down
	FailuresInRow int       `json:"failures_in_row"`
	LastSuccess   time.Time `json:"last_success,omitzero"`
	LastFailure   time.Time `json:"last_failure,omitzero"`
	ShutUntil     time.Time `json:"shut_until,omitzero"` // it sent 503 with Retry-After
}

func (s *spot) health(p place) TargetHealth {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := TargetHealth{Address: p.addr.String(), Transport: p.network, State: "unknown", FailuresInRow: s.failed,
		LastSuccess: s.lastGood, LastFailure: s.lastBad, ShutUntil: s.shut}
	if p.name() != "" {
		h.Target = p.of.String()
	}
	switch {
	case s.down:
		h.State = "down"
	case !s.lastGood.IsZero():
		h.State = "up"
	}
	return h
}

// at gives what is known of an address.
func (s *trunkState) at(p place) *spot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spots == nil {
		s.spots = map[place]*spot{}
	}
	one := s.spots[p]
	if one == nil {
		one = &spot{}
		s.spots[p] = one
	}
	return one
}

// keepOnly forgets the addresses that the trunk has no more.
func (s *trunkState) keepOnly(places []place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.spots {
		if !slices.Contains(places, p) {
			delete(s.spots, p)
		}
	}
}

// TrunkHealth tells how a trunk does.
func (ua *Agent) TrunkHealth(name string) Health {
	s := ua.trunks.state(name)
	h := Health{State: "unknown", Targets: []TargetHealth{}}
	s.mu.Lock()
	h.LiveCalls = s.live
	s.mu.Unlock()
	for _, l := range ua.trunks.all() {
		if l.Name == name {
			for _, p := range l.places {
				h.Targets = append(h.Targets, s.at(p).health(p))
			}
			h.Names = s.namesOf(l.Trunk, ua.o.Clock())
		}
	}
	down := 0
	for i, t := range h.Targets {
		if i == 0 || t.FailuresInRow < h.FailuresInRow {
			h.FailuresInRow = t.FailuresInRow
		}
		h.LastSuccess, h.LastFailure = later(h.LastSuccess, t.LastSuccess), later(h.LastFailure, t.LastFailure)
		switch t.State {
		case "up":
			h.State = "up"
		case "down":
			down++
		}
	}
	lost := func(n NameHealth) bool { return n.State != string(locate.Pending) }
	if down == len(h.Targets) && (down > 0 || slices.ContainsFunc(h.Names, lost)) {
		h.State = "down"
	}
	ua.keepers.mu.Lock()
	defer ua.keepers.mu.Unlock()
	if k := ua.keepers.of[name]; k != nil && k.registration != nil {
		r := k.registration.health()
		h.Registration = &r
	}
	return h
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Trunks are the trunks there are, by name.
func (ua *Agent) Trunks() []masking.Trunk {
	var list []masking.Trunk
	for _, l := range ua.trunks.all() {
		list = append(list, l.Trunk)
	}
	return list
}
