package masking

import (
	"testing"
	"time"
)

func TestANodeIsAliveForALeaseAfterItsLastSignOfLife(t *testing.T) {
	at := time.Date(2024, 6, 15, 9, 30, 0, 0, time.UTC)
	n := Node{ID: "a", StartedAt: at.Add(-time.Hour), SeenAt: at}
	for after, want := range map[time.Duration]bool{-2 * time.Second: true, 0: true, Lease - time.Millisecond: true, Lease: false} {
		if n.Alive(at.Add(after)) != want {
			t.Errorf("%v after its sign of life it is alive: %v", after, !want)
		}
	}
	if n.GoneAt = at; n.Alive(at) {
		t.Error("one that is gone is alive")
	}
}

func TestASilentNodeAndForALeaseOneThatIsGoneMayHaveDialogs(t *testing.T) {
	at := time.Date(2024, 6, 15, 9, 30, 0, 0, time.UTC)
	silent := Node{ID: "a", SeenAt: at.Add(-time.Hour)}
	gone := silent
	gone.GoneAt = at
	if !silent.MayHaveDialogs(at) || !gone.MayHaveDialogs(at.Add(Lease-time.Millisecond)) || gone.MayHaveDialogs(at.Add(Lease)) {
		t.Error("not as long as its talks may be taken over")
	}
}

func TestOnlyTheFolderItselfTellsThatARunIsOver(t *testing.T) {
	n := Node{ID: "a", Folder: "boot:1:2"}
	if !n.LastRunOf("boot:1:2") || n.LastRunOf("boot:1:3") || n.LastRunOf("") || (Node{}).LastRunOf("") {
		t.Error("a folder is taken for another")
	}
}

// watch is a node that looks at one other, once a second.
type watch struct {
	Lookout
	now    time.Time
	other  Node
	silent []Node // at the last look
}

func newWatch() *watch {
	at := time.Date(2024, 6, 15, 9, 30, 0, 0, time.UTC)
	return &watch{now: at, other: Node{ID: "b", StartedAt: at.Add(-time.Hour), SeenAt: at.Add(-time.Hour)}} // by a clock of its own
}

// look gives whether the other is lost, after a time.
func (w *watch) look(after time.Duration) bool {
	var lost []Node
	w.now = w.now.Add(after)
	w.Lookout, w.silent, lost = w.Look("a", []Node{{ID: "a"}, w.other}, w.now)
	return len(lost) == 1 && lost[0].ID == "b"
}

// leaseLooks is how many looks a lease has, and firstLooks what passes until a node is
// lost of which nothing was heard after an outage.
const (
	leaseLooks = int(Lease / time.Second)
	firstLooks = leaseLooks + int(afterOutage/time.Second)
)

// lostAfter gives how many looks it takes until the other is lost.
func (w *watch) lostAfter(t *testing.T) int {
	t.Helper()
	for i := 1; i < 30; i++ {
		if w.look(time.Second) {
			return i
		}
	}
	t.Fatal("it is never lost")
	return 0
}

func TestANodeIsLostWhenNobodySawASignOfLifeForALease(t *testing.T) {
	w := newWatch()
	w.look(0)
	for i := range 30 { // alive, whatever its clock says
		if i%3 == 0 {
			w.other.SeenAt = w.other.SeenAt.Add(-time.Second)
		}
		if w.look(time.Second) {
			t.Fatal("a node that gives signs of life is lost")
		}
	}
	if n := w.lostAfter(t); n != leaseLooks-2 { // the last sign was two looks ago
		t.Errorf("lost after %d looks", n)
	}
	if !w.look(time.Second) {
		t.Error("one whose calls are not closed yet is not lost at the next look")
	}
	w.other.StartedAt = w.other.StartedAt.Add(time.Hour)
	if w.look(time.Second) {
		t.Error("a new run is lost")
	}
}

func TestWhoeverWasAwayHimselfTakesNobodyForDead(t *testing.T) {
	w := newWatch()
	w.look(0)
	for range firstLooks - 1 {
		w.look(time.Second)
	}
	if w.look(lookWithin + time.Second) {
		t.Error("a node is lost of which nobody could hear")
	}
	if n := w.lostAfter(t); n != firstLooks { // it may not have found the database again
		t.Errorf("lost after %d looks", n)
	}
	w.look(lookWithin + time.Second)
	w.other.SeenAt = w.other.SeenAt.Add(time.Second)
	w.look(time.Second)
	if n := w.lostAfter(t); n != leaseLooks { // it has
		t.Errorf("lost after %d looks", n)
	}
}

func TestOneWhoIsGoneIsLookedAfterOnceALease(t *testing.T) {
	w := newWatch()
	w.other.GoneAt = w.now
	w.look(0)
	for i := range 3 {
		want := leaseLooks
		if i == 0 {
			want = firstLooks
		}
		if n := w.lostAfter(t); n != want {
			t.Errorf("given after %d looks", n)
		}
	}
}

func TestASilentNodeIsAskedBeforeItIsLostAndOneThatIsGoneIsNot(t *testing.T) {
	const step = 500 * time.Millisecond
	w := newWatch()
	w.look(0)
	w.other.SeenAt = w.other.SeenAt.Add(time.Second)
	lost := false
	for at := time.Duration(0); !lost; at += step {
		if at > 0 {
			lost = w.look(step)
		} else {
			w.look(step) // sees the sign
		}
		if want := at >= askAfter; (len(w.silent) == 1) != want {
			t.Errorf("asked %v after a sign of life: %v", at, !want)
		}
	}
	if len(w.silent) != 1 {
		t.Error("one whose calls nobody has dealt with yet is asked no more")
	}
	w.look(lookWithin + step) // whoever was away himself asks as soon
	for at := step; at <= askAfter; at += step {
		if w.look(step); (len(w.silent) == 1) != (at == askAfter) {
			t.Errorf("asked %v after an outage: %v", at, at != askAfter)
		}
	}
	w.other.SeenAt = w.other.SeenAt.Add(time.Second)
	if w.look(step) || len(w.silent) != 0 {
		t.Error("one that has given a sign of life is asked or lost")
	}
	w.other.GoneAt = w.now
	for range 2 * leaseLooks {
		if w.look(time.Second); len(w.silent) != 0 {
			t.Fatal("one that is gone is asked")
		}
	}
}
