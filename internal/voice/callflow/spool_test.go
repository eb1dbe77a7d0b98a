package callflow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/seal"
)

// memorySpool outlives journals as a folder does.
type memorySpool struct {
	mu      sync.Mutex
	records [][]byte
	room    int // records that it takes; 0 = any number
	dead    bool
}

var errNoRoom = errors.New("no room")

func (s *memorySpool) Append(records [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead || s.room > 0 && len(s.records)+len(records) > s.room {
		return errNoRoom
	}
	s.records = append(s.records, records...)
	return nil
}

func (s *memorySpool) Peek(n int) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records[:min(n, len(s.records))]), nil
}

func (s *memorySpool) Drop(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dead {
		s.records = slices.Delete(s.records, 0, n)
	}
	return nil
}

func (s *memorySpool) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

func (s *memorySpool) Full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.room > 0 && len(s.records) >= s.room
}

// die gives what another process finds of a spool whose process was killed: that one
// changes nothing any more.
func (s *memorySpool) die() *memorySpool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
	return &memorySpool{records: slices.Clone(s.records), room: s.room}
}

func spooling(t testing.TB, m *memory, s *memorySpool, ladders Ladders) (*Journal, *syncLog) {
	t.Helper()
	box, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	log := &syncLog{}
	return NewJournal(JournalOptions{Store: m, Spool: s, Clock: time.Now, Node: "n1", Log: slog.New(slog.NewJSONHandler(log, nil)),
		Seal: box, Ladders: ladders}), log
}

func TestWhatTheStoreDoesNotTakeIsWrittenByTheNextRunBeforeAllElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := newMemory(), &memorySpool{}
		m.away = true
		j, log := spooling(t, m, s, nil)
		var want []string
		for i := range 300 {
			c := record(i)
			live(j, c, kolkata(t))
			for what := range strings.SplitSeq(wholeLife, ", ") {
				want = append(want, string(c.ID)+" "+what)
			}
		}
		<-time.After(spoolAfter)
		if s.Len() != 1200 || j.Spooled() != 1200 || j.Waiting() != 1200 || j.Behind() {
			t.Errorf("%d in the spool, %d wait, behind: %v", s.Len(), j.Waiting(), j.Behind())
		}
		select {
		case <-j.Caught():
		default:
			t.Error("a run that found nothing has not caught up")
		}
		rest := s.die() // kill -9
		j.abort()
		m.set(func(m *memory) { m.away = false })
		log.checkNoNumber(t)

		next, _ := spooling(t, m, rest, nil)
		select {
		case <-next.Caught():
			t.Error("caught up before anything is written")
		default:
		}
		next.Note(masking.Began, record(900), time.UTC)
		<-next.Caught()
		if rest.Len() != 0 {
			t.Errorf("%d left", rest.Len())
		}
		if err := next.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.written(""); got != strings.Join(append(want, "call_0900 began"), ", ") {
			t.Errorf("written %s", got)
		}
	})
}

func TestAStoreThatDoesNotAnswerHoldsEntriesInMemoryForASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := newMemory(), &memorySpool{}
		j, _ := spooling(t, m, s, nil)
		m.set(func(m *memory) { m.hang = true })
		live(j, record(1), time.UTC)
		<-time.After(spoolAfter)
		synctest.Wait()
		if s.Len() != 4 {
			t.Errorf("%d entries are safe after a second", s.Len())
		}
		live(j, record(2), time.UTC)
		<-time.After(spoolAfter)
		synctest.Wait()
		if s.Len() != 8 {
			t.Errorf("%d entries are safe after two", s.Len())
		}
		m.set(func(m *memory) { m.hang = false })
		j.abort() // ends what hangs
		<-j.done
		next, _ := spooling(t, m, s, nil)
		if err := next.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			if got := m.written(record(i + 1).ID); got != wholeLife {
				t.Errorf("call %d: %s", i+1, got)
			}
		}
	})
}

func TestAStopWhileTheStoreIsAwayLosesNothingAndDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := newMemory(), &memorySpool{}
		m.away = true
		j, log := spooling(t, m, s, nil)
		live(j, record(1), time.UTC)
		begun := time.Now()
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > retryEvery {
			t.Errorf("took %v", took)
		}
		if s.Len() != 4 || !strings.Contains(log.String(), `"msg":"call records wait in the data folder for the next start","entries":4`) {
			t.Errorf("%d entries are safe, log %s", s.Len(), log)
		}
		m.set(func(m *memory) { m.away = false })
		next, _ := spooling(t, m, s, nil)
		if err := next.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.written(record(1).ID); got != wholeLife {
			t.Errorf("written %s", got)
		}
	})
}

func TestAFullSpoolTakesNoNewCallsSaysSoAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := newMemory(), &memorySpool{room: 6}
		m.away = true
		j, log := spooling(t, m, s, nil)
		live(j, record(1), time.UTC)
		<-time.After(time.Second)
		if j.Behind() {
			t.Error("behind with room left")
		}
		for i := range 3 {
			live(j, record(i+2), time.UTC)
		}
		<-time.After(time.Second)
		if s.Len() != 4 || j.Waiting() != 16 {
			t.Errorf("%d in the spool, %d wait", s.Len(), j.Waiting())
		}
		s.mu.Lock()
		s.room = 4
		s.mu.Unlock()
		if !j.Behind() {
			t.Error("not behind with a full spool")
		}
		if n := strings.Count(log.String(), "neither into the store nor into the data folder"); n != 1 {
			t.Errorf("said %d times", n)
		}
		m.set(func(m *memory) { m.away = false })
		<-time.After(time.Second)
		for i := range 4 {
			if got := m.written(record(i + 1).ID); got != wholeLife {
				t.Errorf("call %d: %s", i+1, got)
			}
		}
		if j.Behind() || j.Waiting() != 0 {
			t.Errorf("behind: %v, %d wait", j.Behind(), j.Waiting())
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAStateAndALadderGoIntoTheSpoolAndOutOfMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s, seen := newMemory(), &memorySpool{}, &seenCalls{takes: map[masking.CallID]int{}, whole: true}
		m.away = true
		j, _ := spooling(t, m, s, seen)
		c := record(1)
		j.Note(masking.Began, c, time.UTC)
		c.AnsweredAt = time.Now()
		j.Note(masking.Answered, c, time.UTC)
		j.Keep(c, func() ([]byte, error) { return []byte("first"), nil })
		<-time.After(time.Second)
		j.Keep(c, func() ([]byte, error) { return []byte("second"), nil })
		<-time.After(time.Second)
		if len(j.states) != 0 || s.Len() != 4 {
			t.Errorf("%d states in memory, %d entries are safe", len(j.states), s.Len())
		}
		c.EndedAt = time.Now()
		j.Note(masking.Ended, c, time.UTC)
		<-time.After(time.Second)
		j.Seen(c.ID)
		<-time.After(time.Second)
		if !slices.Equal(seen.forgot, []masking.CallID{c.ID, c.ID}) {
			t.Errorf("forgot %v", seen.forgot)
		}
		m.set(func(m *memory) { m.away = false })
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		var states []string
		for _, sealed := range m.rows.states[c.ID] {
			state, err := j.box.Open([]byte(sealed), []byte(c.ID))
			if err != nil {
				t.Fatal(err)
			}
			states = append(states, string(state))
		}
		if !slices.Equal(states, []string{"first", "second"}) {
			t.Errorf("states %q", states)
		}
		if got := m.rows.calls[c.ID].Ladder; len(got) != 1 || int(got[0]) != seen.takes[c.ID] {
			t.Errorf("ladder %v of %d", got, seen.takes[c.ID])
		}
	})
}

func TestAnEntryThatCannotBeReadIsToldAndHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s := newMemory(), &memorySpool{}
		m.away = true
		j, _ := spooling(t, m, s, nil)
		live(j, record(1), time.UTC)
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.records = append([][]byte{nil, []byte("{")}, s.records...)
		m.set(func(m *memory) { m.away = false })
		next, log := spooling(t, m, s, nil)
		if err := next.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.written(record(1).ID); got != wholeLife {
			t.Errorf("written %s", got)
		}
		if n := strings.Count(log.String(), "a call record cannot be read from the data folder"); n != 2 {
			t.Errorf("told %d times", n)
		}
	})
}

// Whatever the order of calls, outages and kills: what was safe when the process died is
// written once, in its order, and what was not is lost with its process alone.
func TestOutagesAndKillsLoseNothingThatWasSafeAndDoubleNothing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			m, s := newMemory(), &memorySpool{}
			j, _ := spooling(t, m, s, nil)
			lost := map[masking.CallID]bool{}
			var told []masking.CallID
			for step := range rapid.IntRange(1, 25).Draw(r, "steps") {
				switch rapid.SampledFrom([]string{"call", "call", "call", "wait", "away", "back", "hang", "forget", "kill"}).Draw(r, "step") {
				case "call":
					c := record(step)
					told = append(told, c.ID)
					live(j, c, time.UTC)
				case "wait":
					<-time.After(2 * spoolAfter)
				case "away":
					m.set(func(m *memory) { m.away = true })
				case "back":
					m.set(func(m *memory) { m.away = false })
				case "hang":
					m.set(func(m *memory) { m.hang = !m.hang })
				case "forget":
					m.set(func(m *memory) { m.forgets++ })
				case "kill":
					synctest.Wait()
					rest := s.die()
					if n := int(j.length.Load()); n > 0 { // at most the last second of it
						for _, id := range told {
							if !strings.HasSuffix(m.written(id), "call.completed") && !holds(rest, id) {
								lost[id] = true
							}
						}
					}
					j.abort()
					<-j.done
					s = rest
					j, _ = spooling(t, m, s, nil)
				}
			}
			m.set(func(m *memory) { m.away, m.hang, m.forgets = false, false, 0 })
			j.abort()
			<-j.done
			j, _ = spooling(t, m, s, nil)
			if err := j.Close(context.Background()); err != nil {
				r.Fatal(err)
			}
			for _, id := range told {
				if got := m.written(id); !lost[id] && got != wholeLife {
					r.Errorf("%s: %s", id, got)
				}
				if n := strings.Count(m.written(id), "call.completed"); n > 1 {
					r.Errorf("%s ended %d times", id, n)
				}
			}
			if n := m.rows.counted["gvn_1"].Calls; n != int64(len(m.rows.calls)) {
				r.Errorf("%d counted, %d records", n, len(m.rows.calls))
			}
		})
	})
}

func holds(s *memorySpool, id masking.CallID) bool {
	return slices.ContainsFunc(s.records, func(b []byte) bool { return bytes.Contains(b, []byte(id)) && bytes.Contains(b, []byte(`"moment":5`)) })
}

func TestAnEntryComesOutOfTheSpoolAsItWentIn(t *testing.T) {
	var c masking.Call
	fill(t, reflect.ValueOf(&c).Elem(), 1)
	c.Ladder = nil // an entry has it
	for _, e := range []entry{
		{moment: masking.Ended, event: "evt_1", call: c, zone: kolkata(t), at: time.Now().UTC(), ladder: []byte{1, 2}},
		{moment: kept, event: "evt_2", call: masking.Call{ID: "call_1", Tenant: "acme"}, at: time.Now().UTC(), state: &keptState{sealed: []byte{3}}},
		{moment: rejected, event: "evt_3", at: time.Now().UTC(), refusal: &refusal{why: masking.RefusedCallerBusy, at: time.Now().UTC(),
			ask:  masking.Ask{Call: "call_2", Trunk: "carrier", Called: virtual, Caller: alice, Received: time.Now().UTC()},
			plan: masking.Plan{Allocation: masking.Allocation{ID: "gvn_1", CustomField: "order 7"}}}},
		{moment: masking.Began, event: "evt_4", call: masking.Call{Caller: e164.Erased()}, at: time.Now().UTC()},
	} {
		got, err := decode(e.encode())
		if err != nil {
			t.Fatal(err)
		}
		if got.at.Equal(e.at) {
			got.at = e.at // without the monotonic clock
		}
		if !reflect.DeepEqual(plainTimes(got), plainTimes(e)) {
			t.Errorf("got  %+v\nwant %+v", got, e)
		}
	}
}

// plainTimes has the times of a refusal without a monotonic clock.
func plainTimes(e entry) entry {
	e.at = e.at.Round(0)
	if e.refusal != nil {
		r := *e.refusal
		r.at, r.ask.Received = r.at.Round(0), r.ask.Received.Round(0)
		e.refusal = &r
	}
	return e
}

// fill gives every field a value, so that one which is added is not forgotten.
func fill(t testing.TB, v reflect.Value, n int) int {
	t.Helper()
	switch at := v.Addr().Interface().(type) {
	case *e164.Number:
		*at = e164.MustParse(fmt.Sprintf("+9198123456%02d", n))
		return n + 1
	case *time.Time:
		*at = time.Unix(int64(1_700_000_000+n), 0).UTC()
		return n + 1
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			n = fill(t, v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			n = fill(t, v.Index(i), n)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(uint64(n % 256))
	default:
		t.Fatalf("a field of kind %v", v.Kind())
	}
	return n + 1
}
