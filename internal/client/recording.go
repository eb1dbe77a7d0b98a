package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Recording is what is known of a call's recording.
type Recording struct {
	CallSID        string `json:"call_sid"`
	Status         string `json:"status"`   // recording, stored, failed, deleted
	Duration       int64  `json:"duration"` // seconds
	Size           int64  `json:"size"`     // bytes
	Truncated      bool   `json:"truncated"`
	DroppedPackets int64  `json:"dropped_packets"`
	Reason         string `json:"reason"`
	LegalHold      bool   `json:"legal_hold"`
	StartedAt      string `json:"started_at"`
	StoredAt       string `json:"stored_at"`
	DeletedAt      string `json:"deleted_at"`
}

// Recording reads what is known of a call's recording.
func (c *Client) Recording(ctx context.Context, tenant, sid string) (Recording, error) {
	return do[Recording](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "calls", sid, "recording", "info")})
}

// HoldRecording puts a recording under legal hold, or ends that.
func (c *Client) HoldRecording(ctx context.Context, tenant, sid string, held bool, calls ...Call) (Recording, error) {
	body := map[string]bool{"legal_hold": held}
	return do[Recording](ctx, c, asTenant, request{method: http.MethodPut, path: own(tenant, "calls", sid, "recording"), body: body, calls: calls})
}

// DeleteRecording removes a recording.
func (c *Client) DeleteRecording(ctx context.Context, tenant, sid string, calls ...Call) (Recording, error) {
	return do[Recording](ctx, c, asTenant, request{method: http.MethodDelete, path: own(tenant, "calls", sid, "recording"), calls: calls})
}

// SaveRecording writes the sound of a call's recording, a WAV file, as it comes.
// ctx alone bounds how long that takes. What it wrote before an error is no file.
func (c *Client) SaveRecording(ctx context.Context, tenant, sid string, to io.Writer) (int64, error) {
	req, err := c.prepare(ctx, asTenant, request{method: http.MethodGet, path: own(tenant, "calls", sid, "recording")})
	if err != nil {
		return 0, err
	}
	patient := *c.http
	patient.Timeout = 0
	resp, err := patient.Do(req)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read to its end, or given up
	if resp.StatusCode >= 300 {
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return 0, fmt.Errorf("read the answer: %w", err)
		}
		return 0, errorOf(resp, body)
	}
	if resp.Header.Get("Content-Type") != "audio/wav" {
		return 0, errors.New("the answer is no sound")
	}
	n, err := io.Copy(to, resp.Body)
	if err != nil {
		return n, fmt.Errorf("read the recording: %w", err)
	}
	return n, nil
}
