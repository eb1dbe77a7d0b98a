package control

import (
	"context"
	"errors"
	"io"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// Recordings are a tenant's use cases of what was recorded, and the upkeep of it.
//
// A recording is removed in three steps: its record says so, the sound goes, the
// record forgets the key of the sound. The first is what counts for everybody who
// asks; whatever comes between the others is made good by Sweep.
type Recordings struct {
	*core
	sounds Sounds
}

// notReady is how long to wait for a recording whose call is up, or whose file is
// on its way: nobody knows better.
const notReady = 5 * time.Second

// Get reads what is known of a call's recording.
func (s *Recordings) Get(ctx context.Context, t masking.TenantID, call masking.CallID) (r masking.Recording, err error) {
	err = s.view(ctx, "read a recording", func(ctx context.Context, tx store.Reader) error {
		r, err = tx.Recording(ctx, t, call)
		return err
	})
	return r, err
}

// Open gives the sound of a call's recording, to be closed. Conflict while it is
// not complete; NotFound if there is none, or none any more. The audit log says
// who listened to what, before he does.
func (s *Recordings) Open(ctx context.Context, t masking.TenantID, call masking.CallID, by Origin) (r masking.Recording, sound io.ReadSeekCloser, err error) {
	if r, err = s.Get(ctx, t, call); err != nil {
		return r, nil, err
	}
	switch {
	case r.Status == masking.RecordingRunning:
		return r, nil, s.errNotReady()
	case r.Status != masking.RecordingStored || s.sounds == nil:
		return r, nil, masking.ErrNotFound()
	}
	if err = s.noteLook(ctx, by); err != nil {
		return r, nil, err
	}
	if sound, err = s.sounds.Open(ctx, r); err != nil {
		return r, nil, s.fail(ctx, "open a recording", err)
	}
	s.log.InfoContext(ctx, "recording opened", "tenant", string(t), "call", string(call))
	return r, sound, nil
}

func (s *Recordings) errNotReady() *masking.Error {
	return &masking.Error{Kind: masking.Conflict, Code: masking.CodeRecordingNotReady, RetryAfter: s.now().Add(notReady),
		Message: "the recording is not complete yet"}
}

// Hold puts a recording under legal hold, or ends that. NotFound where there is
// nothing to hold.
func (s *Recordings) Hold(ctx context.Context, t masking.TenantID, call masking.CallID, held bool, once Once[masking.Recording]) (Answer, error) {
	return change(ctx, s.core, t, "hold a recording", once,
		func(ctx context.Context, tx store.Tx, _ time.Time) (masking.Recording, error) {
			r, err := tx.Recording(ctx, t, call)
			if err != nil {
				return r, err
			}
			if r.Status != masking.RecordingRunning && r.Status != masking.RecordingStored {
				return r, masking.ErrNotFound()
			}
			r.Held = held
			return r, tx.UpdateRecording(ctx, r)
		})
}

// Delete removes a recording; one that was removed is answered as it was, so that
// a retry is safe. Conflict under legal hold, and while it is not complete.
func (s *Recordings) Delete(ctx context.Context, t masking.TenantID, call masking.CallID, once Once[masking.Recording]) (Answer, error) {
	var gone masking.Recording
	answer, err := change(ctx, s.core, t, "delete a recording", once,
		func(ctx context.Context, tx store.Tx, now time.Time) (masking.Recording, error) {
			gone = masking.Recording{}
			r, err := tx.Recording(ctx, t, call)
			if err != nil {
				return r, err
			}
			switch {
			case r.Status == masking.RecordingRunning:
				return r, s.errNotReady()
			case r.Status == masking.RecordingFailed:
				return r, masking.ErrNotFound()
			case r.Status == masking.RecordingStored && r.Held:
				return r, masking.ErrHeld()
			case r.Status == masking.RecordingStored:
				r.Status, r.DeletedAt = masking.RecordingDeleted, now
				if err := tx.UpdateRecording(ctx, r); err != nil {
					return r, err
				}
			}
			gone = r
			return r, nil
		})
	if err == nil && gone.Key != "" && s.sounds != nil {
		// Whoever asked is answered all the same: the log has what failed, and Sweep
		// does it again.
		_ = s.removeSound(ctx, []masking.Recording{gone})
	}
	return answer, err
}

// Sweep removes at most limit recordings that their tenants do not keep longer,
// and the sound of what is deleted and still has some. It gives how many sounds
// it removed.
func (s *Recordings) Sweep(ctx context.Context, limit int) (int, error) {
	if s.sounds == nil {
		return 0, nil
	}
	due, err := s.due(ctx, limit)
	if err == nil && len(due) > 0 {
		err = s.retire(ctx, due)
	}
	if err != nil {
		return 0, err
	}
	return s.removeSounds(ctx, limit)
}

// removeSounds removes the sound of at most limit recordings that are deleted, and
// gives how many those were.
func (s *Recordings) removeSounds(ctx context.Context, limit int) (int, error) {
	var left []masking.Recording
	err := s.view(ctx, "look for deleted recordings", func(ctx context.Context, tx store.Reader) (err error) {
		left, err = tx.DeletedWithSound(ctx, limit)
		return err
	})
	if err != nil || len(left) == 0 {
		return 0, err
	}
	if err := s.removeSound(ctx, left); err != nil {
		return 0, err
	}
	return len(left), nil
}

// removeDeleted removes the sound of all recordings that are deleted.
func (s *Recordings) removeDeleted(ctx context.Context) error {
	const atOnce = 100
	for s.sounds != nil {
		if n, err := s.removeSounds(ctx, atOnce); err != nil || n < atOnce {
			return err
		}
	}
	return nil
}

// due finds recordings that retention removes. It only reads: as a rule there are
// none.
func (s *Recordings) due(ctx context.Context, limit int) (found []masking.Recording, err error) {
	now := s.now()
	err = s.view(ctx, "look for old recordings", func(ctx context.Context, tx store.Reader) error {
		tenants, err := tx.Tenants(ctx)
		if err != nil {
			return err
		}
		for _, t := range tenants {
			keep := t.Settings.RecordingRetention
			if keep == 0 || len(found) >= limit {
				continue
			}
			// A recording is due at its last moment, not after it.
			old, err := tx.StoredBefore(ctx, t.ID, now.Add(-keep).Add(time.Millisecond), limit-len(found))
			if err != nil {
				return err
			}
			found = append(found, old...)
		}
		return nil
	})
	return found, err
}

// retire writes that recordings are deleted, unless somebody has held them, or
// his tenant has decided to keep them longer, since they were found.
func (s *Recordings) retire(ctx context.Context, found []masking.Recording) error {
	err := s.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		now := s.now()
		for _, f := range found {
			t, err := tx.Tenant(ctx, f.Tenant)
			if err != nil {
				return err
			}
			r, err := tx.Recording(ctx, f.Tenant, f.Call)
			if err != nil {
				return err
			}
			if !r.Due(t.Settings, now) {
				continue
			}
			r.Status, r.DeletedAt = masking.RecordingDeleted, now
			if err := tx.UpdateRecording(ctx, r); err != nil {
				return err
			}
		}
		return nil
	})
	return s.fail(ctx, "delete old recordings", err)
}

// removeSound removes the sound of recordings that are deleted, and then forgets
// where it was. One that fails keeps no other.
func (s *Recordings) removeSound(ctx context.Context, deleted []masking.Recording) error {
	var failed []error
	removed := make([]masking.Recording, 0, len(deleted))
	for _, r := range deleted {
		if err := s.sounds.Delete(ctx, r.Key); err != nil {
			failed = append(failed, err)
			s.log.WarnContext(ctx, "a deleted recording still has its sound", "tenant", string(r.Tenant), "call", string(r.Call), "error", err)
			continue
		}
		removed = append(removed, r)
	}
	err := s.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		for _, r := range removed {
			is, err := tx.Recording(ctx, r.Tenant, r.Call)
			if masking.KindOf(err) == masking.NotFound || (err == nil && is.Key != r.Key) {
				continue // its tenant has gone, or there is other sound to remove
			}
			if err != nil {
				return err
			}
			is.Key = ""
			if err := tx.UpdateRecording(ctx, is); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(append(failed, s.fail(ctx, "forget where sound was", err))...)
}
