package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/control"
	"tandem/internal/masking"
)

// CallRecording is what a call shows of its recording.
type CallRecording struct {
	Status   masking.RecordingStatus `json:"status" enum:"recording,stored,failed,deleted"`
	URL      string                  `json:"url,omitempty" doc:"path of the sound; left out when there is none any more"`
	Duration int64                   `json:"duration" doc:"seconds"`
}

// RecordingInfo is what is known of a recording.
type RecordingInfo struct {
	CallSID        masking.CallID          `json:"call_sid"`
	Status         masking.RecordingStatus `json:"status" enum:"recording,stored,failed,deleted"`
	Duration       int64                   `json:"duration" doc:"seconds"`
	Size           int64                   `json:"size" doc:"bytes of the file"`
	Truncated      bool                    `json:"truncated" doc:"its end was lost"`
	DroppedPackets int64                   `json:"dropped_packets" doc:"what the recorder did not keep up with"`
	Reason         string                  `json:"reason,omitempty" doc:"why it failed"`
	LegalHold      bool                    `json:"legal_hold" doc:"neither retention nor DELETE removes it"`
	StartedAt      string                  `json:"started_at" format:"date-time"`
	StoredAt       string                  `json:"stored_at,omitempty" format:"date-time"`
	DeletedAt      string                  `json:"deleted_at,omitempty" format:"date-time"`
	Peaks          *Peaks                  `json:"peaks,omitempty" doc:"the waveform, once it is stored"`
}

// Peaks are the loudest of equal parts of a recording, from 0 to 255.
type Peaks struct {
	Left  []int `json:"left" doc:"the caller"`
	Right []int `json:"right" doc:"the callee"`
}

// RecordingDeleted is the answer to delete.
type RecordingDeleted struct {
	CallSID   masking.CallID          `json:"call_sid"`
	Status    masking.RecordingStatus `json:"status" enum:"deleted"`
	DeletedAt string                  `json:"deleted_at" format:"date-time"`
}

// HoldBody puts a recording under legal hold, or ends that.
type HoldBody struct {
	LegalHold bool `json:"legal_hold"`
}

// HoldInput is the request of a legal hold.
type HoldInput struct {
	CallInput
	Keyed
	Body document[HoldBody]
}

// DeleteRecordingInput is the request of delete.
type DeleteRecordingInput struct {
	CallInput
	Keyed
}

// id reads the identifier; what cannot be one is simply not found.
func (p CallInput) id() (masking.CallID, error) {
	return parseID[masking.CallID](masking.PrefixCall, p.CallSID)
}

// recordings declares the operations on what was recorded.
func (r *router) recordings() {
	const path = "/calls/{call_sid}/recording"
	op := func(method, path, id, summary string) huma.Operation {
		op := tenantOp(method, path, "recording-"+id, summary)
		op.Tags = []string{"Recordings"}
		return op
	}
	soundOp(r, op("GET", path, "get", "Get the sound of a call, caller left and callee right"), r.recording)
	operation[CallInput, RecordingInfo](r, op("GET", path+"/info", "info", "Get what is known of a recording"), r.recordingInfo)
	operation[HoldInput, RecordingInfo](r, op("PUT", path, "hold", "Put a recording under legal hold, or end that"), r.holdRecording)
	operation[DeleteRecordingInput, RecordingDeleted](r, op("DELETE", path, "delete", "Delete a recording"), r.deleteRecording)
}

func (s *server) recording(ctx context.Context, in *CallInput) (*sound, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	r, file, err := s.Plane.Recordings.Open(ctx, exchangeOf(ctx).tenant.ID, id, exchangeOf(ctx).by)
	if err != nil {
		return nil, err
	}
	return &sound{ReadSeeker: file, name: string(id) + ".wav", tag: fmt.Sprintf("%s-%d-%d", id, r.Size, r.StoredAt.UnixMilli()),
		modified: r.StoredAt, private: true, done: func() { _ = file.Close() }}, nil // it was only read
}

func (s *server) recordingInfo(ctx context.Context, in *CallInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	r, err := s.Plane.Recordings.Get(ctx, t.ID, id)
	if err != nil {
		return control.Answer{}, err
	}
	v := recordingInfo(t)(r)
	if r.Status == masking.RecordingStored {
		v.Peaks = peaks(r.Peaks)
	}
	return render(http.StatusOK, v), nil
}

func (s *server) holdRecording(ctx context.Context, in *HoldInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Recordings.Hold(ctx, t.ID, id, body.LegalHold, once(ctx, s, http.StatusOK, recordingInfo(t)))
}

func (s *server) deleteRecording(ctx context.Context, in *DeleteRecordingInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Recordings.Delete(ctx, t.ID, id, once(ctx, s, http.StatusOK, func(r masking.Recording) RecordingDeleted {
		return RecordingDeleted{CallSID: r.Call, Status: r.Status, DeletedAt: masking.Stamp(r.DeletedAt, t.Settings.Zone)}
	}))
}

// recordingInfo shows all but the waveform.
func recordingInfo(t masking.Tenant) func(masking.Recording) RecordingInfo {
	return func(r masking.Recording) RecordingInfo {
		return RecordingInfo{CallSID: r.Call, Status: r.Status, Duration: int64(r.Duration / time.Second), Size: r.Size,
			Truncated: r.Truncated, DroppedPackets: int64(r.Dropped), Reason: r.Reason, LegalHold: r.Held,
			StartedAt: masking.Stamp(r.StartedAt, t.Settings.Zone), StoredAt: optionalStamp(r.StoredAt, t.Settings.Zone),
			DeletedAt: optionalStamp(r.DeletedAt, t.Settings.Zone)}
	}
}

// peaks splits a waveform: its first half is the left channel.
func peaks(both []byte) *Peaks {
	half := len(both) / 2
	return &Peaks{Left: numbersOf(both[:half]), Right: numbersOf(both[half:])}
}

func numbersOf(b []byte) []int {
	out := make([]int, len(b))
	for i := range b {
		out[i] = int(b[i])
	}
	return out
}

// callRecording is what a call shows of its recording, nil if it has none.
func callRecording(r *masking.Recording) *CallRecording {
	if r == nil {
		return nil
	}
	v := &CallRecording{Status: r.Status, Duration: int64(r.Duration / time.Second)}
	if r.Status == masking.RecordingRunning || r.Status == masking.RecordingStored {
		v.URL = masking.RecordingURL(r.Tenant, r.Call)
	}
	return v
}
