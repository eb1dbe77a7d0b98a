package sqlstore

import (
	"context"
	"time"

	"tandem/internal/masking"
)

const recordingColumns = `g.call, g.tenant, g.allocation, g.virtual_number, g.status, g.started_at, g.stored_at, g.deleted_at,
	g.key, g.duration, g.size, g.truncated, g.dropped, g.reason, g.held, g.peaks, g.node`

// recordingDest are the destinations of recordingColumns.
func recordingDest(g *masking.Recording) []any {
	return []any{&g.Call, &g.Tenant, &g.Allocation, numberCol{&g.VirtualNumber}, recordingStatusCol(&g.Status),
		timeCol{&g.StartedAt}, timeCol{&g.StoredAt}, timeCol{&g.DeletedAt}, &g.Key, durationCol{&g.Duration}, &g.Size,
		&g.Truncated, &g.Dropped, &g.Reason, &g.Held, blobCol{&g.Peaks}, &g.Node}
}

func recordingStatusCol(to *masking.RecordingStatus) wordCol[masking.RecordingStatus] {
	return wordCol[masking.RecordingStatus]{to, "status of a recording", []masking.RecordingStatus{
		masking.RecordingRunning, masking.RecordingStored, masking.RecordingFailed, masking.RecordingDeleted}}
}

func scanRecording(_ *Reader, row Scanner) (g masking.Recording, err error) {
	return g, row.Scan(recordingDest(&g)...)
}

// Recording reads what is known of the recording of a tenant's call.
func (r *Reader) Recording(ctx context.Context, tenant masking.TenantID, call masking.CallID) (g masking.Recording, err error) {
	r.c.Lock(ForNoKeyUpdate, `recording WHERE call = ? AND tenant = ?`, call, tenant)
	err = r.row(ctx, `SELECT `+recordingColumns+` FROM recording g WHERE g.call = ? AND g.tenant = ?`,
		[]any{call, tenant}, recordingDest(&g)...)
	return g, absent(err)
}

// StoredBefore are recordings that retention may remove, oldest first: an index
// has no others.
func (r *Reader) StoredBefore(ctx context.Context, tenant masking.TenantID, before time.Time, limit int) ([]masking.Recording, error) {
	return list(ctx, r, `SELECT `+recordingColumns+` FROM recording g
		WHERE g.tenant = ? AND g.started_at < ? AND g.status = 'stored' AND g.held = 0 ORDER BY g.started_at, g.call LIMIT ?`,
		[]any{tenant, millis(before), most(limit)}, scanRecording)
}

// RunningRecordings reads the index of recordings that run, which is as long as
// there are calls that are recorded. One without a node, of the release before, is its call's.
func (r *Reader) RunningRecordings(ctx context.Context, node string) ([]masking.Recording, error) {
	return list(ctx, r, `SELECT `+recordingColumns+` FROM recording g JOIN call k ON k.id = g.call
		WHERE g.status = 'recording' AND CASE WHEN g.node = '' THEN k.node ELSE g.node END = ? ORDER BY g.call`, []any{node}, scanRecording)
}

// DeletedWithSound are deleted recordings whose sound is not yet gone: an index has
// no others.
func (r *Reader) DeletedWithSound(ctx context.Context, limit int) ([]masking.Recording, error) {
	return list(ctx, r, `SELECT `+recordingColumns+` FROM recording g
		WHERE g.status = 'deleted' AND g.key <> '' AND g.deleted_at > 0 ORDER BY g.deleted_at, g.call LIMIT ?`, []any{most(limit)}, scanRecording)
}

// RecordingKey reads a tenant's sealed key.
func (r *Reader) RecordingKey(ctx context.Context, tenant masking.TenantID) (sealed []byte, err error) {
	err = r.row(ctx, `SELECT sealed FROM recording_key WHERE tenant = ?`, []any{tenant}, blobCol{&sealed})
	return sealed, absent(err)
}

// BeginRecording writes a recording, once.
func (t *Tx) BeginRecording(ctx context.Context, g masking.Recording) error {
	_, err := t.exec(ctx, `INSERT INTO recording (call, tenant, allocation, virtual_number, status, started_at, stored_at, deleted_at,
		key, duration, size, truncated, dropped, reason, held, peaks, node)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (call) DO NOTHING`,
		g.Call, g.Tenant, g.Allocation, g.VirtualNumber.E164(), g.Status, millis(g.StartedAt), millis(g.StoredAt), millis(g.DeletedAt),
		g.Key, g.Duration.Milliseconds(), g.Size, g.Truncated, g.Dropped, g.Reason, g.Held, blob(g.Peaks), g.Node)
	if err != nil {
		return inserted("a recording of the call", err)
	}
	_, err = t.exec(ctx, `UPDATE call SET recorded = 1 WHERE id = ? AND tenant = ?`, g.Call, g.Tenant)
	return err
}

// EndRecording writes what became of a recording that runs, once. Whether it is
// held was decided meanwhile, and is not the recorder's to say.
func (t *Tx) EndRecording(ctx context.Context, g masking.Recording) (changed bool, err error) {
	n, err := t.exec(ctx, `UPDATE recording SET status = ?, stored_at = ?, key = ?, duration = ?, size = ?, truncated = ?,
		dropped = ?, reason = ?, peaks = ? WHERE call = ? AND tenant = ? AND status = 'recording'`,
		g.Status, millis(g.StoredAt), g.Key, g.Duration.Milliseconds(), g.Size, g.Truncated,
		g.Dropped, g.Reason, blob(g.Peaks), g.Call, g.Tenant)
	if err != nil || n > 0 {
		return err == nil, err
	}
	known, err := t.found(ctx, `SELECT 1 FROM recording WHERE call = ? AND tenant = ?`, g.Call, g.Tenant)
	if err == nil && !known {
		return false, masking.ErrNotFound()
	}
	return false, err
}

// UpdateRecording writes status, deletion, legal hold and key.
func (t *Tx) UpdateRecording(ctx context.Context, g masking.Recording) error {
	return exactlyOne(t.exec(ctx, `UPDATE recording SET status = ?, deleted_at = ?, held = ?, key = ? WHERE call = ? AND tenant = ?`,
		g.Status, millis(g.DeletedAt), g.Held, g.Key, g.Call, g.Tenant))
}

// InsertRecordingKey keeps the first key and gives the one that is kept.
func (t *Tx) InsertRecordingKey(ctx context.Context, tenant masking.TenantID, sealed []byte, now time.Time) ([]byte, error) {
	_, err := t.exec(ctx, `INSERT INTO recording_key (tenant, sealed, created_at) VALUES (?, ?, ?) ON CONFLICT (tenant) DO NOTHING`,
		tenant, blob(sealed), millis(now))
	if err != nil {
		return nil, inserted("a key of recordings", err)
	}
	return t.RecordingKey(ctx, tenant)
}
