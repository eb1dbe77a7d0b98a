package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
)

// NewPinBody asks for an allocation that a PIN opens.
type NewPinBody struct {
	CallerIDNumber string   `json:"caller_id_number" doc:"virtual number from the tenant's pool (E.164)" example:"+914000000001"`
	From           []string `json:"from" minItems:"1" maxItems:"10" doc:"A-party numbers (E.164)"`
	To             []string `json:"to,omitempty" minItems:"1" maxItems:"10" doc:"B-party numbers (E.164); may be set later"`
	Duration       *int64   `json:"duration,omitempty" minimum:"300" maximum:"14688000" doc:"validity in seconds; default 86400"`
	MaxPINAttempts *int64   `json:"max_pin_attempts,omitempty" minimum:"1" maximum:"10" doc:"wrong PINs that a party may enter; default 3"`
	Record         *bool    `json:"record,omitempty" doc:"record calls; default false"`
	CustomField    *string  `json:"custom_field,omitempty" maxLength:"256" doc:"the application's own text, given back as it came"`
}

// PinCreated is the published answer to create.
type PinCreated struct {
	GreenPinID     masking.AllocationID `json:"greenpin_id" example:"gp_abc123"`
	VirtualNumber  string               `json:"virtual_number"`
	From           []string             `json:"from"`
	To             []string             `json:"to" doc:"empty until it is set"`
	PIN            string               `json:"pin" doc:"made by the system; opens the allocation on its virtual number" example:"4821"`
	Status         masking.Status       `json:"status" enum:"active,expired,deleted"`
	MaxPINAttempts int64                `json:"max_pin_attempts"`
	Record         bool                 `json:"record"`
	CustomField    string               `json:"custom_field"`
	CreatedAt      string               `json:"created_at" format:"date-time"`
	ExpiresAt      string               `json:"expires_at" format:"date-time"`
}

// Pin is the published answer to get, and after it what is additive.
type Pin struct {
	GreenPinID     masking.AllocationID `json:"greenpin_id" example:"gp_abc123"`
	VirtualNumber  string               `json:"virtual_number"`
	From           []string             `json:"from"`
	To             []string             `json:"to" doc:"empty until it is set"`
	PIN            string               `json:"pin,omitempty" doc:"left out of lists" example:"4821"`
	Status         masking.Status       `json:"status" enum:"active,expired,deleted"`
	MaxPINAttempts int64                `json:"max_pin_attempts"`
	Record         bool                 `json:"record"`
	CustomField    string               `json:"custom_field"`
	CallCount      int64                `json:"call_count" doc:"calls that were connected"`
	CreatedAt      string               `json:"created_at" format:"date-time"`
	ExpiresAt      string               `json:"expires_at" format:"date-time"`
	Calls          *CallTally           `json:"calls,omitempty" doc:"once a call has been let in"`
	DeletedAt      string               `json:"deleted_at,omitempty" format:"date-time" doc:"once deleted"`
	EndReason      masking.EndReason    `json:"end_reason,omitempty" enum:"api,admin,expired" doc:"once ended"`
}

// PinUpdateBody changes what it names.
type PinUpdateBody struct {
	From           []string `json:"from,omitempty" minItems:"1" maxItems:"10" doc:"replacement A-party numbers"`
	To             []string `json:"to,omitempty" minItems:"1" maxItems:"10" doc:"replacement B-party numbers"`
	Duration       *int64   `json:"duration,omitempty" minimum:"300" maximum:"14688000" doc:"seconds from now"`
	MaxPINAttempts *int64   `json:"max_pin_attempts,omitempty" minimum:"1" maximum:"10"`
	Record         *bool    `json:"record,omitempty"`
	CustomField    *string  `json:"custom_field,omitempty" maxLength:"256"`
}

// PinItemBody is one of many updates.
type PinItemBody struct {
	GreenPinID string `json:"greenpin_id" example:"gp_abc123"`
	PinUpdateBody
}

// PinUpdated is the published answer to update.
type PinUpdated struct {
	GreenPinID     masking.AllocationID `json:"greenpin_id" example:"gp_abc123"`
	VirtualNumber  string               `json:"virtual_number"`
	From           []string             `json:"from"`
	To             []string             `json:"to"`
	Status         masking.Status       `json:"status" enum:"active,expired,deleted"`
	MaxPINAttempts int64                `json:"max_pin_attempts"`
	Record         bool                 `json:"record"`
	CustomField    string               `json:"custom_field"`
	UpdatedAt      string               `json:"updated_at" format:"date-time"`
	ExpiresAt      string               `json:"expires_at" format:"date-time"`
}

// PinResults say of each of many updates whether it was applied, in order.
type PinResults struct {
	Results []PinResult `json:"results"`
}

// PinResult is what became of one update.
type PinResult struct {
	GreenPinID string      `json:"greenpin_id" doc:"as the request names it"`
	Status     string      `json:"status" enum:"updated,failed"`
	Allocation *PinUpdated `json:"allocation,omitempty" doc:"if it was updated"`
	Error      *PinError   `json:"error,omitempty" doc:"if it was not: why"`
}

// PinError says why an update was not applied, as ProblemDetail does.
type PinError struct {
	Code    masking.Code `json:"code" doc:"of the same list as in an error envelope"`
	Message string       `json:"message"`
	Field   string       `json:"field,omitempty" doc:"of this update"`
}

// PinDeleted is the published answer to delete.
type PinDeleted struct {
	GreenPinID masking.AllocationID `json:"greenpin_id" example:"gp_abc123"`
	Status     masking.Status       `json:"status" enum:"deleted"`
	DeletedAt  string               `json:"deleted_at" format:"date-time"`
}

// PinUnlocked is the answer to unlock.
type PinUnlocked struct {
	GreenPinID masking.AllocationID `json:"greenpin_id" example:"gp_abc123"`
	Status     masking.Status       `json:"status" enum:"active"`
	UnlockedAt string               `json:"unlocked_at" format:"date-time"`
}

// UnlockBody says whose wrong PINs are forgotten.
type UnlockBody struct {
	Caller *string `json:"caller,omitempty" doc:"only those of this caller (E.164), also as a stranger; default: those of all parties"`
}

// PinPath names one allocation.
type PinPath struct {
	TenantPath
	GreenPinID string `path:"greenpin_id" doc:"as given at creation" example:"gp_abc123"`
}

func (p PinPath) id() (masking.AllocationID, error) {
	return parseID[masking.AllocationID](masking.PrefixPIN, p.GreenPinID)
}

// NewPinInput is the request of create.
type NewPinInput struct {
	TenantPath
	Keyed
	Body document[NewPinBody]
}

// PinUpdateInput is the request of update.
type PinUpdateInput struct {
	PinPath
	Keyed
	Body document[PinUpdateBody]
}

// PinBatchInput is the request of many updates.
type PinBatchInput struct {
	TenantPath
	Keyed
	Body batch[PinItemBody]
}

// PinDeleteInput is the request of delete.
type PinDeleteInput struct {
	PinPath
	Keyed
	TerminateCalls bool `query:"terminate_calls" doc:"end connected calls too"`
}

// UnlockInput is the request of unlock.
type UnlockInput struct {
	PinPath
	Keyed
	Body document[UnlockBody]
}

// PinListInput is the request of list.
type PinListInput struct {
	TenantPath
	Paged
	Status string `query:"status" enum:"active,expired,deleted"`
	Narrowed
}

// greenpin declares the operations on allocations that a PIN opens.
func (r *router) greenpin() {
	op := func(method, path, id, summary string) huma.Operation {
		op := tenantOp(method, "/greenpin"+path, "greenpin-"+id, summary)
		op.Tags = []string{"GreenPin"}
		return op
	}
	operation[NewPinInput, PinCreated](r, op("POST", "", "create", "Create a PIN allocation"), r.createPin)
	operation[PinPath, Pin](r, op("GET", "/{greenpin_id}", "get", "Get PIN allocation details"), r.getPin)
	operation[PinUpdateInput, PinUpdated](r, op("PUT", "/{greenpin_id}", "update", "Update a PIN allocation"), r.updatePin)
	operation[PinBatchInput, PinResults](r, op("PUT", "", "update-many", "Update PIN allocations, each for itself"), r.updatePins)
	operation[PinDeleteInput, PinDeleted](r, op("DELETE", "/{greenpin_id}", "delete", "Delete a PIN allocation"), r.deletePin)
	operation[PinListInput, list[Pin]](r, op("GET", "", "list", "List PIN allocations, newest first"), r.listPins)
	unlock := op("POST", "/{greenpin_id}/unlock", "unlock", "Forget wrong PINs")
	unlock.DefaultStatus, unlock.Metadata = http.StatusOK, map[string]any{bodyOptional: true}
	operation[UnlockInput, PinUnlocked](r, unlock, r.unlockPin)
}

func (s *server) createPin(ctx context.Context, in *NewPinInput) (control.Answer, error) {
	if s.Draining != nil && s.Draining() {
		return control.Answer{}, masking.ErrUnavailable()
	}
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	want, err := body.domain()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Pins.Create(ctx, t, want, once(ctx, s, http.StatusCreated,
		func(a control.Snapshot) PinCreated { return pinCreated(a, t.Settings.Zone) }))
}

// domain makes the request one of control.
func (b NewPinBody) domain() (control.NewPin, error) {
	var want control.NewPin
	var err error
	if want.VirtualNumber, err = control.ParseNumber("caller_id_number", b.CallerIDNumber); err != nil {
		return want, err
	}
	change, err := PinUpdateBody{From: b.From, To: b.To, Duration: b.Duration, MaxPINAttempts: b.MaxPINAttempts}.domain()
	if err != nil {
		return want, err
	}
	want.From, want.To, want.Duration = change.From, change.To, masking.DefaultDuration
	set(&want.Duration, change.Duration)
	set(&want.MaxPINAttempts, change.MaxPINAttempts)
	want.Record, want.CustomField = value(b.Record), value(b.CustomField)
	return want, nil
}

// domain makes the request one of control. A side that is given holds a number: it
// is left out to leave it as it is.
func (b PinUpdateBody) domain() (control.PinChange, error) {
	want := control.PinChange{Patch: masking.Patch{Record: b.Record, CustomField: b.CustomField}}
	var err error
	if want.From, err = replacement("from", b.From); err != nil {
		return want, err
	}
	if b.To != nil && len(b.To) == 0 {
		return want, invalidField("to", "to must hold 1 to 10 numbers, or be left out")
	}
	if want.To, err = replacement("to", b.To); err != nil {
		return want, err
	}
	if b.Duration != nil {
		d := seconds(*b.Duration)
		want.Duration = &d
	}
	if b.MaxPINAttempts != nil {
		n := 0
		setInt(&n, b.MaxPINAttempts)
		want.MaxPINAttempts = &n
		return want, masking.CheckPINAttempts(n)
	}
	return want, nil
}

func (s *server) getPin(ctx context.Context, in *PinPath) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	a, err := s.Plane.Pins.Get(ctx, t, id)
	if err != nil {
		return control.Answer{}, err
	}
	v := pinListed(t.Settings.Zone)(a)
	v.PIN = a.PIN.Reveal()
	return render(http.StatusOK, v), nil
}

func (s *server) updatePin(ctx context.Context, in *PinUpdateInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	want, err := body.change()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Pins.Update(ctx, t, id, want, once(ctx, s, http.StatusOK,
		func(a control.Snapshot) PinUpdated { return pinUpdated(a, t.Settings.Zone) }))
}

// change is domain of an update, which must name something.
func (b PinUpdateBody) change() (control.PinChange, error) {
	want, err := b.domain()
	if err == nil && want.Empty() {
		err = missingField("", "at least one of from, to, duration, max_pin_attempts, record and custom_field must be given")
	}
	return want, err
}

func (s *server) updatePins(ctx context.Context, in *PinBatchInput) (control.Answer, error) {
	raw, err := in.Body.items()
	if err != nil {
		return control.Answer{}, err
	}
	items, named := make([]control.PinItem, len(raw)), make([]string, len(raw))
	for i := range raw {
		var body PinItemBody
		items[i], err = readItem(raw[i], &body)
		if err != nil && !errors.As(err, &items[i].Wrong) {
			return control.Answer{}, err
		}
		named[i] = body.GreenPinID
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Pins.UpdateMany(ctx, t, items, once(ctx, s, http.StatusOK, func(out []control.PinOutcome) PinResults {
		results := make([]PinResult, len(out))
		for i, o := range out {
			results[i] = pinResult(o, t.Settings.Zone)
			results[i].GreenPinID = named[i]
		}
		return PinResults{results}
	}))
}

// readItem reads one of many updates. What of it could be read is in body, also
// if it is refused.
func readItem(raw []byte, body *PinItemBody) (item control.PinItem, err error) {
	if bytes.TrimSpace(raw)[0] != '{' {
		return item, invalidField("", "an update must be a JSON object")
	}
	if err = decode(raw, body); err != nil {
		return item, err
	}
	if item.ID, err = parseID[masking.AllocationID](masking.PrefixPIN, body.GreenPinID); err != nil {
		return item, err
	}
	item.PinChange, err = body.change()
	return item, err
}

func (s *server) deletePin(ctx context.Context, in *PinDeleteInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Pins.Delete(ctx, t, id, in.TerminateCalls, once(ctx, s, http.StatusOK, func(a control.Snapshot) PinDeleted {
		return PinDeleted{GreenPinID: a.ID, Status: a.Status(a.At), DeletedAt: masking.Stamp(a.EndedAt, t.Settings.Zone)}
	}))
}

func (s *server) unlockPin(ctx context.Context, in *UnlockInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	body := UnlockBody{}
	if len(bytes.TrimSpace(in.Body.body)) > 0 {
		if body, err = in.Body.decode(); err != nil {
			return control.Answer{}, err
		}
	}
	var caller e164.Number
	if body.Caller != nil {
		if caller, err = control.ParseNumber("caller", *body.Caller); err != nil {
			return control.Answer{}, err
		}
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Pins.Unlock(ctx, t, id, caller, once(ctx, s, http.StatusOK, func(a control.Snapshot) PinUnlocked {
		return PinUnlocked{GreenPinID: a.ID, Status: a.Status(a.At), UnlockedAt: masking.Stamp(a.At, t.Settings.Zone)}
	}))
}

func (s *server) listPins(ctx context.Context, in *PinListInput) (control.Answer, error) {
	q, err := in.query(in.Paged, masking.PrefixPIN)
	if err != nil {
		return control.Answer{}, err
	}
	q.Status = masking.Status(in.Status)
	t := exchangeOf(ctx).tenant
	page, more, err := s.Plane.Pins.List(ctx, t, q)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, newList(page, pinListed(t.Settings.Zone), more,
		func(a control.Snapshot) string { return cursor(string(a.ID)) })), nil
}

func pinCreated(a control.Snapshot, zone *time.Location) PinCreated {
	return PinCreated{GreenPinID: a.ID, VirtualNumber: a.VirtualNumber.E164(), From: masking.Texts(a.From), To: masking.Texts(a.To),
		PIN: a.PIN.Reveal(), Status: a.Status(a.At), MaxPINAttempts: int64(a.MaxPINAttempts), Record: a.Record, CustomField: a.CustomField,
		CreatedAt: masking.Stamp(a.CreatedAt, zone), ExpiresAt: masking.Stamp(a.ExpiresAt, zone)}
}

// pinListed shows all but the PIN.
func pinListed(zone *time.Location) func(control.Snapshot) Pin {
	return func(a control.Snapshot) Pin {
		v := Pin{GreenPinID: a.ID, VirtualNumber: a.VirtualNumber.E164(), From: masking.Texts(a.From), To: masking.Texts(a.To),
			Status: a.Status(a.At), MaxPINAttempts: int64(a.MaxPINAttempts), Record: a.Record, CustomField: a.CustomField,
			CallCount: a.Tally.Connected, CreatedAt: masking.Stamp(a.CreatedAt, zone), ExpiresAt: masking.Stamp(a.ExpiresAt, zone), Calls: tally(a.Tally)}
		at, why, ended := a.Ended(a.At)
		if ended {
			v.EndReason = why
		}
		if v.Status == masking.Deleted {
			v.DeletedAt = masking.Stamp(at, zone)
		}
		return v
	}
}

func pinUpdated(a control.Snapshot, zone *time.Location) PinUpdated {
	return PinUpdated{GreenPinID: a.ID, VirtualNumber: a.VirtualNumber.E164(), From: masking.Texts(a.From), To: masking.Texts(a.To),
		Status: a.Status(a.At), MaxPINAttempts: int64(a.MaxPINAttempts), Record: a.Record, CustomField: a.CustomField,
		UpdatedAt: masking.Stamp(a.UpdatedAt, zone), ExpiresAt: masking.Stamp(a.ExpiresAt, zone)}
}

func pinResult(o control.PinOutcome, zone *time.Location) PinResult {
	if e := o.Refused; e != nil {
		return PinResult{Status: "failed", Error: &PinError{Code: e.Code, Message: e.Message, Field: e.Field}}
	}
	v := pinUpdated(o.Snapshot, zone)
	return PinResult{Status: "updated", Allocation: &v}
}
