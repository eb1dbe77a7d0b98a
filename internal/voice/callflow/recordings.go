package callflow

import (
	"context"
	"errors"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Recordings writes down what becomes of recordings. Its methods may be repeated;
// each says nil only when it is durable.
type Recordings struct {
	Store store.Store
	Clock func() time.Time
}

// errEarly says that the call's answer, which the journal writes, is not written
// yet.
var errEarly = errors.New("the record of the call is not written yet")

// begunRecording is the recording of a call that has been answered. One whose call is
// written after somebody's number in it was erased is deleted already: its sound goes as
// soon as it is stored.
func begunRecording(c masking.Call, now time.Time) masking.Recording {
	r := masking.Recording{Call: c.ID, Tenant: c.Tenant, Allocation: c.Allocation, VirtualNumber: c.VirtualNumber,
		Node: c.Node, Status: masking.RecordingRunning, StartedAt: c.AnsweredAt}
	if c.Erased() {
		r.Status, r.DeletedAt = masking.RecordingDeleted, now
	}
	return r
}

// End writes that a recording is stored, or has failed, with its event. Call,
// Tenant, Status and what is known of the file are taken from r.
func (k *Recordings) End(ctx context.Context, r masking.Recording) error {
	return k.Store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		now := k.Clock()
		begun, err := k.begun(ctx, tx, r)
		if err != nil {
			return err
		}
		r := r // fn may run again
		r.Allocation, r.VirtualNumber, r.StartedAt, r.StoredAt = begun.Allocation, begun.VirtualNumber, begun.StartedAt, now
		changed, err := tx.EndRecording(ctx, r)
		if err == nil && !changed && begun.Status == masking.RecordingDeleted && r.Status == masking.RecordingStored {
			// Deleted since a process stored it that died before it had cleared its
			// spool: the next one has brought the sound back, which Sweep removes.
			begun.Key = r.Key
			return tx.UpdateRecording(ctx, begun)
		}
		if err != nil || !changed {
			return err
		}
		t, err := tx.Tenant(ctx, r.Tenant)
		if err != nil {
			return err
		}
		typ := masking.EventRecordingReady
		if r.Status == masking.RecordingFailed {
			typ = masking.EventRecordingFailed
		}
		return tx.AppendEvent(ctx, masking.RecordingEvent(newEventID(now), typ, r, t.Settings.Zone, now))
	})
}

// CloseLost ends the recordings of a node's calls of which it has nothing: those
// that had a process only, which died. It is called at start, once the spool has
// been looked into and before the first call; waits tells of what was found there.
// A call that goes on after the restart is recorded no more.
func (k *Recordings) CloseLost(ctx context.Context, node string, waits func(masking.TenantID, masking.CallID) bool) (int, error) {
	var running []masking.Recording
	err := k.Store.View(ctx, func(ctx context.Context, tx store.Reader) (err error) {
		running, err = tx.RunningRecordings(ctx, node)
		return err
	})
	lost := 0
	for _, r := range running {
		if err != nil {
			break
		}
		if waits(r.Tenant, r.Call) {
			continue
		}
		r.Status, r.Reason = masking.RecordingFailed, reasonLost
		if err = k.End(ctx, r); err == nil {
			lost++
		}
	}
	return lost, err
}

// reasonLost is why a recording failed of which nothing is left.
const reasonLost = "lost"

// begun reads the recording as it was begun. One that the process did not live to
// write down is made up for from the record of its call, once that has an end.
func (k *Recordings) begun(ctx context.Context, tx store.Tx, r masking.Recording) (masking.Recording, error) {
	found, err := tx.Recording(ctx, r.Tenant, r.Call)
	if masking.KindOf(err) != masking.NotFound {
		return found, err
	}
	c, err := tx.Call(ctx, r.Tenant, r.Call)
	if err != nil {
		return found, err
	}
	if c.EndedAt.IsZero() {
		return found, errEarly
	}
	if c.AnsweredAt.IsZero() {
		c.AnsweredAt = c.StartedAt
	}
	found = begunRecording(c, k.Clock())
	return found, tx.BeginRecording(ctx, found)
}
