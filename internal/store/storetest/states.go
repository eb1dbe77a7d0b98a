package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

func stateTests() []test {
	return []test{
		{"TheLastStateOfACallThatTalksIsKept", stateOfTalk},
		{"ACallThatDoesNotTalkHasNoState", stateOfSilence},
		{"StatesAreThoseOfTheNode", statesOfNode},
		{"ATenantTakesTheStatesOfHisCallsAlong", statesOfTenant},
		{"NoStateIsLeftOfACallThatEndsWhileOneIsKept", stateBesideEnd},
		{"ACallThatIsForgottenTakesItsStateAlong", stateForgotten},
		{"ACallThatIsMovedIsTheOtherNodesToKeepAndToEnd", movedCall},
		{"WhatIsSaidOfACallThatIsUpIsSaidBeforeItsEnd", saidBeforeEnd},
		{"ARecordingThatRunsStaysOnTheDiskOfTheNodeThatBeganIt", movedRecording},
	}
}

// keep keeps the state of a call.
func (b *bench) keep(c masking.Call, state string) {
	b.Helper()
	b.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.KeepCallState(ctx, c, []byte(state))
		return err
	})
}

// states are those of the calls of a node, by call.
func (b *bench) states(node string) map[masking.CallID]string {
	b.Helper()
	found := get(b, func(ctx context.Context, tx store.Reader) (map[masking.CallID][]byte, error) {
		open, err := tx.OpenCalls(ctx, node, 0)
		if err != nil {
			return nil, err
		}
		var ids []masking.CallID
		for _, c := range open {
			ids = append(ids, c.ID)
		}
		return tx.CallStates(ctx, ids)
	})
	texts := map[masking.CallID]string{}
	for id, state := range found {
		texts[id] = string(state)
	}
	return texts
}

// talks writes a call of node-1 up to its answer.
func (b *bench) talks(a masking.Allocation, i int) (answered, ended masking.Call) {
	b.Helper()
	begun, answered, ended := steps(a, CallID(i))
	b.update(func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.BeginCall(ctx, begun); err != nil {
			return err
		}
		_, err := tx.AnswerCall(ctx, answered)
		return err
	})
	return answered, ended
}

func stateOfTalk(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	answered, ended := b.talks(a, 1)
	equal(b, b.states(answered.Node), map[masking.CallID]string{})
	b.keep(answered, "first\x00")
	b.keep(answered, "second\x00")
	equal(b, b.states(answered.Node), map[masking.CallID]string{answered.ID: "second\x00"})
	other := answered
	other.Tenant = "other"
	b.keep(other, "another tenant's")
	equal(b, b.states(answered.Node), map[masking.CallID]string{answered.ID: "second\x00"})
	if did, err := b.report(store.Tx.EndCall, ended); err != nil || !did {
		b.Fatalf("the end: %v, %v", did, err)
	}
	equal(b, b.states(answered.Node), map[masking.CallID]string{})
}

func stateOfSilence(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	begun, _, _ := steps(a, CallID(1))
	if _, err := b.report(store.Tx.BeginCall, begun); err != nil {
		b.Fatal(err)
	}
	b.keep(begun, "of a call that rings")
	_, ended := b.talks(a, 2)
	if _, err := b.report(store.Tx.EndCall, ended); err != nil {
		b.Fatal(err)
	}
	b.keep(ended, "of a call that is over")
	unknown := begun
	unknown.ID = CallID(3)
	b.keep(unknown, "of no call")
	equal(b, b.states(begun.Node), map[masking.CallID]string{})
}

func statesOfNode(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	want := map[masking.CallID]string{}
	for i := range 3 {
		c, _ := b.talks(a, i)
		b.keep(c, fmt.Sprint("state ", i))
		want[c.ID] = fmt.Sprint("state ", i)
	}
	equal(b, b.states(Call(a, CallID(0), Person(1)).Node), want)
	equal(b, b.states("node-of-nobody"), map[masking.CallID]string{})
}

func statesOfTenant(b *bench) {
	b.tenant("acme")
	a := Allocation("acme", "", Virtual(2), People(1), People(2))
	c, _ := b.talks(a, 1)
	b.keep(c, "state")
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.DeleteTenant(ctx, "acme") })
	b.tenant("acme")
	c, _ = b.talks(a, 1) // a state that was left would be this call's
	equal(b, b.states(c.Node), map[masking.CallID]string{})
}

// countRows counts those of a table.
func (b *bench) countRows(name string) (n int64) {
	b.Helper()
	b.view(func(ctx context.Context, tx store.Reader) error {
		tables, err := tx.Tables(ctx)
		for _, t := range tables {
			if err == nil && t.Name == name {
				n, err = tx.CountRows(ctx, t)
			}
		}
		return err
	})
	return n
}

func stateBesideEnd(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	for i := range 25 {
		c, ended := b.talks(a, i)
		b.keep(c, "before")
		for _, err := range together(2, func(k int) error {
			return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) (err error) {
				if k == 0 {
					_, err = tx.EndCall(ctx, ended)
				} else {
					_, err = tx.KeepCallState(ctx, c, []byte("late"))
				}
				return err
			})
		}) {
			if err != nil {
				b.Fatal(err)
			}
		}
		equal(b, b.countRows("call_state"), 0)
	}
}

func stateForgotten(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	c, ended := b.talks(a, 1)
	b.keep(c, "state")
	ended.AnsweredAt = time.Time{} // whoever ends it knows of no answer, and leaves the state
	if did, err := b.report(store.Tx.EndCall, ended); err != nil || !did {
		b.Fatalf("the end: %v, %v", did, err)
	}
	b.update(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.ForgetCalls(ctx, "acme", c.StartedAt.Add(time.Hour), 10)
		return err
	})
	equal(b, b.countRows("call_state"), 0)
}

// hand moves a call of c.Node.
func (b *bench) hand(want bool, c masking.Call, to string) {
	b.Helper()
	b.whether(want, func(ctx context.Context, tx store.Tx) (bool, error) { return tx.MoveCall(ctx, c, to) })
}

func movedCall(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	there, endedThere := b.talks(a, 1)
	stays, _ := b.talks(a, 2)
	b.keep(there, "there")
	b.hand(false, masking.Call{ID: there.ID, Tenant: there.Tenant, Node: "node-9"}, "node-2")
	b.hand(true, there, "node-2")
	b.hand(false, there, "node-3")
	moved := get(b, func(ctx context.Context, tx store.Reader) ([]masking.CallID, error) {
		return tx.MovedCalls(ctx, there.Node, []masking.CallID{stays.ID, there.ID, CallID(99)})
	})
	equal(b, moved, []masking.CallID{there.ID})
	own := func(node string) []masking.CallID {
		return get(b, func(ctx context.Context, tx store.Reader) ([]masking.CallID, error) {
			return tx.OwnCalls(ctx, node, []masking.CallID{stays.ID, there.ID, CallID(99)})
		})
	}
	equal(b, own(there.Node), []masking.CallID{stays.ID})
	equal(b, own("node-2"), []masking.CallID{there.ID})
	equal(b, b.states(there.Node), map[masking.CallID]string{})
	b.whether(false, func(ctx context.Context, tx store.Tx) (bool, error) {
		return tx.KeepCallState(ctx, there, []byte("late"))
	})
	if did, err := b.report(store.Tx.EndCall, endedThere); did || err != nil {
		b.Errorf("the node that has lost it ends it: %v, %v", did, err)
	}
	here, endedHere := there, endedThere
	here.Node, endedHere.Node = "node-2", "node-2"
	equal(b, b.states("node-2"), map[masking.CallID]string{there.ID: "there"})
	b.whether(true, func(ctx context.Context, tx store.Tx) (bool, error) {
		return tx.KeepCallState(ctx, here, []byte("here"))
	})
	equal(b, b.states("node-2"), map[masking.CallID]string{there.ID: "here"})
	if did, err := b.report(store.Tx.EndCall, endedHere); !did || err != nil {
		b.Errorf("the node that has it does not end it: %v, %v", did, err)
	}
	b.hand(false, here, "node-3") // it is over
	equal(b, len(own("node-2")), 0)
}

// One node tells that a call rings, while another one ends it.
func saidBeforeEnd(b *bench) {
	b.acme()
	const rounds = 25
	for r := range rounds {
		c := masking.Call{ID: CallID(r), Tenant: "acme", VirtualNumber: Virtual(2), Caller: Person(1), Node: "node-1", StartedAt: Start()}
		if _, err := b.report(store.Tx.BeginCall, c); err != nil {
			b.Fatal(err)
		}
		ended := c
		ended.EndedAt, ended.Cause = Start().Add(time.Second), masking.CauseNodeLost
		tell := func(ctx context.Context, tx store.Tx, typ masking.EventType) error {
			return tx.AppendEvent(ctx, masking.Event{ID: masking.EventID(fmt.Sprint("evt_", r, typ)), Type: typ, Tenant: "acme", Call: c.ID,
				At: Start(), Data: []byte("{}")})
		}
		errs := together(2, func(i int) error {
			return b.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
				if i == 0 {
					own, err := tx.OwnCalls(ctx, c.Node, []masking.CallID{c.ID})
					if err != nil || len(own) == 0 {
						return err
					}
					return tell(ctx, tx, masking.EventCallRinging)
				}
				if did, err := tx.EndCall(ctx, ended); err != nil || !did {
					return fmt.Errorf("ended %v: %w", did, err)
				}
				return tell(ctx, tx, masking.EventCallCompleted)
			})
		})
		if err := errors.Join(errs...); err != nil {
			b.Fatal(err)
		}
	}
	over := map[masking.CallID]bool{}
	for _, e := range get(b, func(ctx context.Context, tx store.Reader) ([]store.StoredEvent, error) {
		return tx.Events(ctx, store.EventFilter{Tenant: "acme"})
	}) {
		if over[e.Call] {
			b.Errorf("%s of %s comes after its end", e.Type, e.Call)
		}
		over[e.Call] = e.Type == masking.EventCallCompleted
	}
	equal(b, len(over), rounds)
}

func movedRecording(b *bench) {
	b.acme()
	a := b.created(Allocation("acme", AllocationID(1), Virtual(2), People(1), People(2)), Start())
	c, _ := b.talks(a, 1)
	g := masking.Recording{Call: c.ID, Tenant: c.Tenant, Allocation: c.Allocation, VirtualNumber: c.VirtualNumber,
		Status: masking.RecordingRunning, StartedAt: c.AnsweredAt}
	b.update(func(ctx context.Context, tx store.Tx) error { return tx.BeginRecording(ctx, g) })
	running := func(node string) int {
		return len(get(b, func(ctx context.Context, tx store.Reader) ([]masking.Recording, error) {
			return tx.RunningRecordings(ctx, node)
		}))
	}
	equal(b, running(c.Node), 1)
	second := c
	second.Node = "node-2"
	b.hand(true, c, "node-2")
	b.hand(true, second, "node-3")
	equal(b, []int{running(c.Node), running("node-2"), running("node-3")}, []int{1, 0, 0})
}
