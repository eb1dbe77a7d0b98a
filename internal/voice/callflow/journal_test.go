package callflow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// syncLog is a log that may be read while it is written.
type syncLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *syncLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *syncLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// checkNoNumber fails if a number of the tests stands in the log.
func (l *syncLog) checkNoNumber(t *testing.T) {
	t.Helper()
	for _, n := range parties {
		if strings.Contains(l.String(), n.National()) {
			t.Errorf("%v stands in the log in full", n)
		}
	}
}

func newJournal(m *memory) (*Journal, *syncLog) {
	log := &syncLog{}
	return NewJournal(JournalOptions{Store: m, Clock: time.Now, Node: "n1", Log: slog.New(slog.NewJSONHandler(log, nil))}), log
}

func record(i int) masking.Call {
	return masking.Call{ID: masking.CallID(fmt.Sprintf("call_%04d", i)), Tenant: "acme", Allocation: "gvn_1", VirtualNumber: virtual,
		Caller: alice, Callee: bob, Direction: masking.FromCalls, Node: "n1", StartedAt: time.Now()}
}

// live notes all moments of a call that was answered.
func live(j *Journal, c masking.Call, zone *time.Location) {
	j.Note(masking.Began, c, zone)
	j.Note(masking.Rang, c, zone)
	c.AnsweredAt = time.Now()
	j.Note(masking.Answered, c, zone)
	c.EndedAt, c.Cause, c.TalkTime = time.Now(), masking.CauseCallerHungUp, time.Minute
	j.Note(masking.Ended, c, zone)
}

const wholeLife = "began, call.ringing, answered, call.answered, ended, call.completed"

func TestMomentsAreWrittenInTheOrderInWhichTheyWereTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		j, _ := newJournal(m)
		var want []string
		for i := range 50 {
			c := record(i)
			live(j, c, time.UTC)
			for what := range strings.SplitSeq(wholeLife, ", ") {
				want = append(want, string(c.ID)+" "+what)
			}
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.written(""); got != strings.Join(want, ", ") {
			t.Errorf("written %s", got)
		}
		if j.Waiting() != 0 {
			t.Errorf("%d wait", j.Waiting())
		}
	})
}

func TestWhatWaitsTogetherIsWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.away = true
		j, _ := newJournal(m)
		for i := range 600 {
			j.Note(masking.Began, record(i), time.UTC)
		}
		synctest.Wait()
		m.set(func(m *memory) { m.away = false })
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(m.batches) != 3 || m.batches[0] != batchSize || m.batches[2] != 600-2*batchSize {
			t.Errorf("batches of %v", m.batches)
		}
	})
}

func TestABusyJournalWritesOnceInAWhileAndAnIdleOneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		j, _ := newJournal(m)
		for range 2 { // idle at first, and again after a pause
			j.Note(masking.Began, record(len(m.batches)), time.UTC)
			synctest.Wait()
			if j.Waiting() != 0 {
				t.Error("an idle journal let an entry wait")
			}
			for range 10 {
				j.Note(masking.Rang, record(0), time.UTC)
				synctest.Wait()
			}
			if j.Waiting() != 10 {
				t.Errorf("%d entries wait, want all ten", j.Waiting())
			}
			<-time.After(flushEvery)
			synctest.Wait()
			<-time.After(flushEvery)
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(m.batches, []int{1, 10, 1, 10}) {
			t.Errorf("batches of %v", m.batches)
		}
	})
}

func TestWhatIsToldWhileTheStoreIsAwayIsWrittenWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		j, log := newJournal(m)
		j.Note(masking.Began, record(0), time.UTC)
		synctest.Wait()
		m.set(func(m *memory) { m.away = true })
		for i := range 10 {
			live(j, record(i), time.UTC)
			<-time.After(time.Second)
		}
		if got := m.written(""); got != "call_0000 began" || j.Waiting() != 40 {
			t.Errorf("written %s, %d wait", got, j.Waiting())
		}
		m.set(func(m *memory) { m.away = false })
		<-time.After(retryEvery)
		synctest.Wait()
		if j.Waiting() != 0 {
			t.Errorf("%d wait after the store is back", j.Waiting())
		}
		for i := range 10 {
			if got := m.written(record(i).ID); got != wholeLife {
				t.Errorf("call %d: %s", i, got)
			}
		}
		if n := strings.Count(log.String(), "call records wait for the store"); n != 1 {
			t.Errorf("an outage makes %d lines", n)
		}
		if !strings.Contains(log.String(), "call records are written again") {
			t.Error("the log does not tell that the store is back")
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// A commit whose answer is lost is repeated.
func TestARepeatedBatchDoublesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.away, m.forgets = true, 3
		j, _ := newJournal(m)
		live(j, record(1), time.UTC)
		synctest.Wait()
		m.set(func(m *memory) { m.away = false })
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		ids := map[masking.EventID]masking.EventType{}
		for _, e := range m.rows.events {
			ids[e.ID] = e.Type
		}
		if len(ids) != 3 { // ringing may be written again, as the same event
			t.Errorf("%d events with ids of their own: %v", len(ids), ids)
		}
		if n := strings.Count(m.written("call_0001"), "call.completed"); n != 1 {
			t.Errorf("%d terminal events: %s", n, m.written("call_0001"))
		}
	})
}

func TestAnEntryThatCanNeverBeWrittenDoesNotHoldUpTheOthers(t *testing.T) {
	for name, fault := range map[string]error{"broken rule": masking.ErrNotFound(), "unknown": errors.New("corrupt row")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				m.poison[record(3).ID] = fault
				m.away = true
				j, log := newJournal(m)
				for i := range 8 {
					live(j, record(i), time.UTC)
				}
				synctest.Wait()
				m.set(func(m *memory) { m.away = false })
				<-time.After(retryEvery)
				synctest.Wait()
				if j.Waiting() != 0 {
					t.Errorf("%d wait", j.Waiting())
				}
				for i := range 8 {
					want := wholeLife
					if i == 3 {
						want = ""
					}
					if got := m.written(record(i).ID); got != want {
						t.Errorf("call %d: %s", i, got)
					}
				}
				if !strings.Contains(log.String(), `"msg":"a call record cannot be written","call":"call_0003"`) {
					t.Error("given up in silence")
				}
				if err := j.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// A full disk can be read and not written: that is no fault of the entries.
func TestAStoreThatCanOnlyBeReadLosesNoRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.full = true
		j, log := newJournal(m)
		for i := range 20 {
			live(j, record(i), time.UTC)
		}
		<-time.After(time.Minute)
		m.set(func(m *memory) { m.full = false })
		<-time.After(retryEvery)
		synctest.Wait()
		for i := range 20 {
			if got := m.written(record(i).ID); got != wholeLife {
				t.Errorf("call %d: %q", i, got)
			}
		}
		if strings.Contains(log.String(), "cannot be written") {
			t.Error("entries were given up")
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTheJournalIsBehindWhileTooMuchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.away = true
		j, _ := newJournal(m)
		for i := range behindAt {
			if j.Behind() {
				t.Fatalf("behind with %d waiting", i)
			}
			j.Note(masking.Rang, record(0), time.UTC)
		}
		if !j.Behind() || j.Waiting() != behindAt {
			t.Errorf("not behind with %d waiting", j.Waiting())
		}
		m.set(func(m *memory) { m.away = false })
		<-time.After(retryEvery)
		synctest.Wait()
		if j.Behind() {
			t.Error("still behind")
		}
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRefusalsOfStrangersAreBoundedAndThoseOfPartiesAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.away = true
		j, _ := newJournal(m)
		for i := range strangersAt + 100 {
			who := e164.MustParse(fmt.Sprintf("+9199%08d", i))
			j.refused(refusal{ask: masking.Ask{Call: record(i).ID, Caller: who}, why: masking.RefusedStranger})
		}
		if j.Waiting() != strangersAt || j.Unwritten() != 100 {
			t.Errorf("%d wait, %d unwritten", j.Waiting(), j.Unwritten())
		}
		j.refused(refusal{ask: masking.Ask{Call: "call_asked"}, why: masking.RefusedCallerBusy})
		if j.Waiting() != strangersAt || j.Unwritten() != 101 {
			t.Error("a stranger who was busy is written beyond the bound")
		}
		j.refused(refusal{ask: masking.Ask{Call: "call_busy"}, plan: masking.Plan{Allocation: masking.Allocation{ID: "gvn_1"}},
			why: masking.RefusedCallerBusy})
		if j.Waiting() != strangersAt+1 {
			t.Error("a party's refusal was dropped")
		}
		m.set(func(m *memory) { m.away = false })
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCloseGivesUpWhenItsTimeIsOver(t *testing.T) {
	for name, fail := range map[string]func(*memory){
		"away":    func(m *memory) { m.away = true },
		"full":    func(m *memory) { m.full = true },
		"hanging": func(m *memory) { m.hang = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				fail(m)
				j, log := newJournal(m)
				j.Note(masking.Began, record(0), time.UTC)
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				start := time.Now()
				if err := j.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("gave %v", err)
				}
				if took := time.Since(start); took != 3*time.Second {
					t.Errorf("took %v", took)
				}
				if !strings.Contains(log.String(), `"entries":1`) {
					t.Errorf("the loss is not told: %s", log)
				}
			})
		})
	}
}

func TestCloseMayBeCalledTwice(t *testing.T) {
	j, _ := newJournal(newMemory())
	for range 2 {
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestARefusalThatTheStoreDoesNotKnowTheNumberOfIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		j, log := newJournal(m)
		j.refused(refusal{ask: masking.Ask{Call: "call_x", Called: nobodys, Caller: e164.Number{}}, why: masking.RefusedWithheld})
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.written(""); got != "" || log.String() != "" {
			t.Errorf("written %q, log %q", got, log)
		}
	})
}

func TestTheEntryThatShowsThatTheStoreWritesIsWrittenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.poison["call_0001"] = errors.New("corrupt row")
		j, _ := newJournal(m)
		j.Note(masking.Began, record(2), time.UTC)
		synctest.Wait()
		m.set(func(m *memory) { m.away = true })
		j.Note(masking.Began, record(1), time.UTC)
		j.Note(masking.Began, record(3), time.UTC)
		j.Note(masking.Rang, record(2), time.UTC)
		synctest.Wait()
		m.set(func(m *memory) { m.away = false })
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.written(""); got != "call_0002 began, call_0003 began, call_0002 call.ringing" {
			t.Errorf("written %s", got)
		}
	})
}

// seenCalls are ladders of which more comes after they are taken first.
type seenCalls struct {
	mu     sync.Mutex
	takes  map[masking.CallID]int
	whole  bool
	kept   []masking.CallID
	forgot []masking.CallID
}

func (s *seenCalls) Keep(id masking.CallID) { s.note(&s.kept, id) }

func (s *seenCalls) Forget(id masking.CallID) { s.note(&s.forgot, id) }

func (s *seenCalls) note(list *[]masking.CallID, id masking.CallID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, id)
}

func (s *seenCalls) Take(id masking.CallID) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes[id]++
	return []byte{byte(s.takes[id])}, s.whole
}

func TestALadderIsWrittenWithTheEndAndAgainWhenMoreHasComeSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, seen := newMemory(), &seenCalls{takes: map[masking.CallID]int{}, whole: true}
		j := NewJournal(JournalOptions{Store: m, Clock: time.Now, Node: "n1", Log: slog.New(slog.DiscardHandler), Ladders: seen})
		c := record(1)
		live(j, c, time.UTC)
		<-time.After(flushEvery)
		synctest.Wait() // for what the writer does then
		if got := m.rows.calls[c.ID].Ladder; len(got) != 1 || got[0] != 1 {
			t.Errorf("with the end: %v", got)
		}
		j.Seen(c.ID)
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.rows.calls[c.ID].Ladder; len(got) != 1 || got[0] != 2 {
			t.Errorf("with what came later: %v", got)
		}
		if !slices.Equal(seen.kept, []masking.CallID{c.ID, c.ID}) || !slices.Equal(seen.forgot, []masking.CallID{c.ID, c.ID}) {
			t.Errorf("kept %v, forgot %v", seen.kept, seen.forgot)
		}
	})
}
