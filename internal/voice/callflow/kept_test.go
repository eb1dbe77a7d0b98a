package callflow

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/masking"
)

// states are what was kept of a call, opened, in order.
func (m *memory) states(t *testing.T, j *Journal, id masking.CallID) (states []string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, sealed := range m.rows.states[id] {
		state, err := j.box.Open([]byte(sealed), []byte(id))
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, string(state))
	}
	return states
}

func newKeeper(t *testing.T, m *memory) (*Journal, *syncLog) {
	log := &syncLog{}
	return NewJournal(JournalOptions{Store: m, Clock: time.Now, Node: "n1", Log: slog.New(slog.NewJSONHandler(log, nil)), Seal: newSeal(t, 1)}), log
}

// However long the store is away, and however often calls change: of each one state
// waits, and only the last is encoded.
func TestOneStateOfACallWaitsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.away = true
		j, _ := newKeeper(t, m)
		var encoded atomic.Int64
		const calls, changes = 3, 2000
		for i := range changes {
			for n := range calls {
				j.Keep(record(n), func() ([]byte, error) {
					encoded.Add(1)
					return fmt.Append(nil, "change ", i), nil
				})
			}
			if i == 0 {
				synctest.Wait()
				encoded.Store(0)
			}
		}
		if j.Waiting() != calls || encoded.Load() != 0 {
			t.Errorf("%d entries wait, %d states were encoded by who told of them", j.Waiting(), encoded.Load())
		}
		<-time.After(time.Minute) // and is tried again and again
		m.set(func(m *memory) { m.away = false })
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for n := range calls {
			if got := m.states(t, j, record(n).ID); len(got) != 1 || got[0] != "change 1999" {
				t.Errorf("kept of call %d: %q", n, got)
			}
		}
		if encoded.Load() != calls || len(j.states) != 0 {
			t.Errorf("%d states were encoded, %d calls are remembered", encoded.Load(), len(j.states))
		}
	})
}

func TestAStateThatComesWhileAnOlderOneIsWrittenIsWrittenAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		j, _ := newKeeper(t, m)
		c := record(1)
		j.Keep(c, func() ([]byte, error) { // the writer has taken it
			for range 3 {
				j.Keep(c, says("the second"))
			}
			return []byte("the first"), nil
		})
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(m.states(t, j, c.ID), ", "); got != "the first, the second" {
			t.Errorf("kept: %s", got)
		}
		if j.Waiting() != 0 || len(j.states) != 0 {
			t.Errorf("%d wait, %d calls are remembered", j.Waiting(), len(j.states))
		}
	})
}

func TestOfACallThatIsOverNoStateIsEncoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.away = true
		j, log := newKeeper(t, m)
		j.Note(masking.Rang, record(0), time.UTC)
		synctest.Wait() // for the writer to wait for the store
		c := record(1)
		j.Note(masking.Began, c, time.UTC)
		j.Keep(c, func() ([]byte, error) { return nil, errors.New("encoded") })
		c.EndedAt, c.Cause = time.Now(), masking.CauseCallerHungUp
		j.Note(masking.Ended, c, time.UTC)
		if len(j.states) != 0 {
			t.Error("the state of a call that is over is remembered")
		}
		m.set(func(m *memory) { m.away = false })
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.states(t, j, c.ID); len(got) != 0 {
			t.Errorf("kept: %q", got)
		}
		if strings.Contains(log.String(), "state") {
			t.Errorf("it was encoded: %s", log)
		}
	})
}

func TestAStateThatCannotBeEncodedHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		j, log := newKeeper(t, m)
		j.Keep(record(1), func() ([]byte, error) { return nil, errors.New("no plain data") })
		j.Keep(record(2), says("a state"))
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.written(""); got != "call_0002 kept" {
			t.Errorf("written %s", got)
		}
		if n := strings.Count(log.String(), `"msg":"the state of a call cannot be written","call":"call_0001"`); n != 1 {
			t.Errorf("told %d times: %s", n, log)
		}
	})
}

// One call's state that the store will not have is given up with its entry, and the
// next one is tried again.
func TestAStateThatIsRefusedIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := record(1)
		m.poison[c.ID] = masking.ErrNotFound()
		j, _ := newKeeper(t, m)
		j.Keep(c, says("the first"))
		<-time.After(time.Second)
		m.set(func(m *memory) { delete(m.poison, c.ID) })
		j.Keep(c, says("the second"))
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(m.states(t, j, c.ID), ", "); got != "the second" {
			t.Errorf("kept: %s", got)
		}
	})
}
