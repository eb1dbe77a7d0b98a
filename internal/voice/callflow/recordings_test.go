package callflow

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func (d *desk) recordings() *Recordings { return &Recordings{Store: d.store, Clock: d.clockNow} }

// tape is what is known of a call's recording.
func (d *desk) tape(id masking.CallID) (r masking.Recording, there bool) {
	d.t.Helper()
	d.view(func(ctx context.Context, tx store.Reader) (err error) {
		r, err = tx.Recording(ctx, "acme", id)
		if there = err == nil; masking.KindOf(err) == masking.NotFound {
			return nil
		}
		return err
	})
	return r, there
}

// talks writes a call that is recorded, up to its answer.
func (d *desk) talks() masking.Call {
	d.t.Helper()
	c := d.routed()
	d.journal.Note(masking.Began, c, time.UTC)
	c.AnsweredAt, c.Recorded = start.Add(4*time.Second), true
	d.journal.Note(masking.Answered, c, time.UTC)
	return c
}

func stored(c masking.Call) masking.Recording {
	return masking.Recording{Call: c.ID, Tenant: c.Tenant, Status: masking.RecordingStored, Key: "acme/k", Duration: 66 * time.Second,
		Size: 4711, Peaks: []byte{1, 2}, Truncated: true, Dropped: 3}
}

func TestARecordingBeginsWithTheAnswerOfItsCallAndEndsOnce(t *testing.T) {
	d := newDesk(t)
	c := d.talks()
	d.journal.Note(masking.Answered, c, time.UTC)
	d.flush()
	want := masking.Recording{Call: c.ID, Tenant: "acme", Allocation: "gvn_two", VirtualNumber: virtual, Node: "n1", Status: masking.RecordingRunning,
		StartedAt: c.AnsweredAt}
	if r, there := d.tape(c.ID); !there || !sameTape(r, want) {
		t.Errorf("begun as %+v", r)
	}
	for i := range 3 { // a repeated end is one
		d.now = start.Add(time.Duration(70+i) * time.Second)
		if err := d.recordings().End(t.Context(), stored(c)); err != nil {
			t.Fatal(err)
		}
	}
	failed := stored(c)
	failed.Status, failed.Reason = masking.RecordingFailed, "late"
	if err := d.recordings().End(t.Context(), failed); err != nil {
		t.Errorf("an end after the end: %v", err)
	}
	want = stored(c)
	want.Allocation, want.VirtualNumber, want.Node, want.StartedAt, want.StoredAt = "gvn_two", virtual, "n1", c.AnsweredAt, start.Add(70*time.Second)
	if r, _ := d.tape(c.ID); !sameTape(r, want) {
		t.Errorf("ended as %+v", r)
	}
	if got := d.events("acme"); !slices.Equal(got, []string{"call.answered  gvn_two", "recording.ready  gvn_two"}) {
		t.Errorf("events %q", got)
	}
	d.view(func(ctx context.Context, tx store.Reader) error {
		list, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", Limit: 10})
		for _, e := range list {
			if url := dataField(t, e.Data, "recording_url"); url != masking.RecordingURL("acme", c.ID) || e.Call != c.ID {
				t.Errorf("%s names %q", e.Type, url)
			}
		}
		if len(list) == 2 && dataField(t, list[1].Data, "start_time") != "2024-06-15T15:00:04+05:30" {
			t.Errorf("event %s", list[1].Data)
		}
		return err
	})
}

func sameTape(a, b masking.Recording) bool {
	times := a.StartedAt.Equal(b.StartedAt) && a.StoredAt.Equal(b.StoredAt) && a.DeletedAt.Equal(b.DeletedAt)
	a.StartedAt, a.StoredAt, a.DeletedAt = b.StartedAt, b.StoredAt, b.DeletedAt
	if len(a.Peaks) == 0 && len(b.Peaks) == 0 {
		a.Peaks, b.Peaks = nil, nil
	}
	return times && reflect.DeepEqual(a, b)
}

func TestARecordingThatFailsSaysWhy(t *testing.T) {
	d := newDesk(t)
	c := d.talks()
	d.flush()
	for range 2 {
		if err := d.recordings().End(t.Context(), masking.Recording{Call: c.ID, Tenant: "acme", Status: masking.RecordingFailed, Reason: "disk_full"}); err != nil {
			t.Fatal(err)
		}
	}
	if r, _ := d.tape(c.ID); r.Status != masking.RecordingFailed || r.Reason != "disk_full" {
		t.Errorf("%+v", r)
	}
	if got := d.events("acme")[1:]; !slices.Equal(got, []string{"recording.failed disk_full gvn_two"}) {
		t.Errorf("events %q", got)
	}
}

func TestACallThatIsNotRecordedHasNoRecording(t *testing.T) {
	d := newDesk(t)
	c := d.routed()
	live(d.journal, c, time.UTC)
	d.flush()
	if r, there := d.tape(c.ID); there {
		t.Errorf("%+v", r)
	}
}

// The file can be ready before the journal has written the answer, or even the
// beginning, of the call.
func TestARecordingThatEndsBeforeItsCallIsWrittenIsToldAgainLater(t *testing.T) {
	d := newDesk(t)
	c := d.routed()
	if err := d.recordings().End(t.Context(), stored(c)); err == nil {
		t.Error("written before its call")
	}
	d.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.BeginCall(ctx, c)
		return err
	})
	if err := d.recordings().End(t.Context(), stored(c)); !errors.Is(err, errEarly) {
		t.Errorf("before the answer is written: %v", err)
	}
	if _, there := d.tape(c.ID); there || len(d.events("acme")) != 0 {
		t.Errorf("something of it remains: %v", d.events("acme"))
	}
	c.AnsweredAt, c.Recorded = start.Add(time.Second), true
	d.journal.Note(masking.Answered, c, time.UTC)
	d.flush()
	if err := d.recordings().End(t.Context(), stored(c)); err != nil {
		t.Error(err)
	}
	if r, _ := d.tape(c.ID); r.Status != masking.RecordingStored {
		t.Errorf("%+v", r)
	}
}

// The process died before the answer was written; the file is there.
func TestARecordingOfACallWhoseNodeWasLostIsMadeUpFor(t *testing.T) {
	d := newDesk(t)
	c := d.routed()
	d.journal.Note(masking.Began, c, time.UTC)
	d.flush()
	d.now = start.Add(time.Minute)
	if err := d.recordings().End(t.Context(), stored(c)); !errors.Is(err, errEarly) {
		t.Errorf("while the call is open: %v", err)
	}
	if n, err := d.journal.CloseLost(t.Context(), nil, d.now); n != 1 || err != nil {
		t.Fatalf("closed %d: %v", n, err)
	}
	for range 2 {
		if err := d.recordings().End(t.Context(), stored(c)); err != nil {
			t.Fatal(err)
		}
	}
	want := stored(c)
	want.Allocation, want.VirtualNumber, want.Node, want.StartedAt, want.StoredAt = "gvn_two", virtual, "n1", start, d.now
	if r, _ := d.tape(c.ID); !sameTape(r, want) {
		t.Errorf("%+v", r)
	}
	if got := d.events("acme"); !slices.Equal(got, []string{"call.completed  gvn_two", "recording.ready  gvn_two"}) {
		t.Errorf("events %q", got)
	}
	if !d.record(c.ID).Recorded {
		t.Error("its call does not say that it was recorded")
	}
}

// Both sides heard of it first, so it is not there from the answer on.
func TestARecordingThatBeginsLaterThanTheAnswerBeginsThen(t *testing.T) {
	d := newDesk(t)
	c := d.routed()
	d.journal.Note(masking.Began, c, time.UTC)
	c.AnsweredAt = start.Add(4 * time.Second)
	d.journal.Note(masking.Answered, c, time.UTC)
	d.flush()
	if _, there := d.tape(c.ID); there || d.record(c.ID).Recorded {
		t.Error("recorded from the answer on")
	}
	d.journal = NewJournal(JournalOptions{Store: d.store, Clock: d.clockNow, Log: d.Director.log, Node: "n1"})
	d.now, c.Recorded = start.Add(9*time.Second), true
	d.journal.Note(masking.Taped, c, time.UTC)
	d.journal.Note(masking.Taped, c, time.UTC)
	d.flush()
	if n, err := d.journal.CloseLost(t.Context(), nil, d.now); n != 1 || err != nil {
		t.Fatalf("closed %d: %v", n, err)
	}
	want := masking.Recording{Call: c.ID, Tenant: "acme", Allocation: "gvn_two", VirtualNumber: virtual, Node: "n1", Status: masking.RecordingRunning,
		StartedAt: start.Add(9 * time.Second)}
	if r, _ := d.tape(c.ID); !sameTape(r, want) {
		t.Errorf("begun as %+v", r)
	}
	d.view(func(ctx context.Context, tx store.Reader) error {
		list, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", Limit: 10})
		if len(list) != 2 || dataField(t, list[0].Data, "recording_url") != "" ||
			dataField(t, list[1].Data, "recording_url") != masking.RecordingURL("acme", c.ID) {
			t.Errorf("%d events, which name other recordings", len(list))
		}
		return err
	})
}

// A process dies after it has told of a recording and before it has cleared its
// spool; the tenant deletes it; the next process stores it once more.
func TestSoundThatComesBackAfterItsDeletionIsRemovedAgain(t *testing.T) {
	d := newDesk(t)
	c := d.talks()
	d.flush()
	if err := d.recordings().End(t.Context(), stored(c)); err != nil {
		t.Fatal(err)
	}
	d.update(func(ctx context.Context, tx store.Tx) error {
		r, err := tx.Recording(ctx, "acme", c.ID)
		r.Status, r.DeletedAt, r.Key = masking.RecordingDeleted, start.Add(2*time.Minute), ""
		return errors.Join(err, tx.UpdateRecording(ctx, r))
	})
	failed := masking.Recording{Call: c.ID, Tenant: "acme", Status: masking.RecordingFailed, Reason: "lost"}
	for _, end := range []masking.Recording{failed, stored(c)} {
		if err := d.recordings().End(t.Context(), end); err != nil {
			t.Fatal(err)
		}
		d.view(func(ctx context.Context, tx store.Reader) error {
			left, err := tx.DeletedWithSound(ctx, 10)
			if comesBack := end.Status == masking.RecordingStored; comesBack != (len(left) == 1) || comesBack && left[0].Key != "acme/k" {
				t.Errorf("ended as %s: to be removed %+v", end.Status, left)
			}
			return err
		})
	}
	if r, _ := d.tape(c.ID); r.Status != masking.RecordingDeleted || !r.DeletedAt.Equal(start.Add(2*time.Minute)) {
		t.Errorf("%+v", r)
	}
}

func TestARecordingIsNotEndedForAnotherTenant(t *testing.T) {
	d := newDesk(t)
	c := d.talks()
	d.flush()
	foreign := stored(c)
	foreign.Tenant = "zeta"
	if err := d.recordings().End(t.Context(), foreign); masking.KindOf(err) != masking.NotFound {
		t.Errorf("gave %v", err)
	}
	if r, _ := d.tape(c.ID); r.Status != masking.RecordingRunning {
		t.Errorf("%+v", r)
	}
}

func TestARecordingsEndSurvivesALostAnswerAndASecondRun(t *testing.T) {
	m := newMemory()
	m.carry(virtual)
	c := record(1)
	c.AnsweredAt, c.EndedAt = start, start.Add(time.Minute)
	m.rows.calls[c.ID] = c
	k := &Recordings{Store: m, Clock: func() time.Time { return start.Add(time.Hour) }}
	m.again, m.forgets = 2, 1
	if err := k.End(t.Context(), stored(c)); err == nil {
		t.Fatal("the answer was not lost: this test sees nothing")
	}
	if err := k.End(t.Context(), stored(c)); err != nil {
		t.Fatal(err)
	}
	if got := m.written(c.ID); got != "recording, recording stored, recording.ready" {
		t.Errorf("written %s", got)
	}
	m.full = true
	if err := k.End(t.Context(), stored(c)); err == nil {
		t.Error("says that it is durable while the store cannot write")
	}
}

// Either both are there or neither: a call that says that it is recorded has a
// recording.
func TestTheAnswerAndItsRecordingAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.tapeless = errors.New("the table is broken")
		j, _ := newJournal(m)
		c := record(1)
		j.Note(masking.Began, c, time.UTC)
		c.AnsweredAt, c.Recorded = time.Now(), true
		j.Note(masking.Answered, c, time.UTC)
		<-time.After(time.Minute)
		m.set(func(m *memory) {
			if !m.rows.calls[c.ID].AnsweredAt.IsZero() || len(m.rows.events) != 0 || len(m.rows.recordings) != 0 {
				t.Errorf("an answer without its recording: %q", m.rows.log)
			}
			m.tapeless, m.forgets = nil, 2
		})
		if err := j.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := m.written(c.ID); got != "began, answered, recording, call.answered" {
			t.Errorf("written %s", got)
		}
		if r := m.rows.recordings[c.ID]; r.Status != masking.RecordingRunning || !r.StartedAt.Equal(c.AnsweredAt) || r.Allocation != c.Allocation {
			t.Errorf("%+v", r)
		}
	})
}

func TestARecordingOfWhichNothingIsLeftIsLostOnce(t *testing.T) {
	d := newDesk(t)
	waiting, lost, up := d.talks(), d.talks(), d.talks()
	for _, c := range []masking.Call{waiting, lost} {
		c.EndedAt, c.Cause = start.Add(time.Minute), masking.CauseCallerHungUp
		d.journal.Note(masking.Ended, c, time.UTC)
	}
	d.flush()
	waits := func(tenant masking.TenantID, call masking.CallID) bool { return tenant == "acme" && call == waiting.ID }
	for node, want := range map[string]int{"n2": 0, "n1": 2} {
		if n, err := d.recordings().CloseLost(t.Context(), node, waits); n != want || err != nil {
			t.Errorf("%d of %s were lost: %v", n, node, err)
		}
	}
	for id, want := range map[masking.CallID]masking.RecordingStatus{waiting.ID: masking.RecordingRunning, lost.ID: masking.RecordingFailed, up.ID: masking.RecordingFailed} {
		if r, _ := d.tape(id); r.Status != want || (r.Reason == "lost") != (id != waiting.ID) {
			t.Errorf("%+v, want %s", r, want)
		}
	}
	if n, err := d.recordings().CloseLost(t.Context(), "n1", waits); n != 0 || err != nil {
		t.Errorf("%d were lost again: %v", n, err)
	}
	failed := slices.DeleteFunc(d.events("acme"), func(e string) bool { return e != "recording.failed lost gvn_two" })
	if len(failed) != 2 { // that of a call which goes on after the restart as well
		t.Errorf("told %d times", len(failed))
	}
}
