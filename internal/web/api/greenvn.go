package api

import (
	"context"
	"net/http"
	"time"

	"tandem/internal/control"
	"tandem/internal/e164"
	"tandem/internal/masking"
)

// automatic asks for the best number of the pool instead of naming one.
const automatic = "auto"

// CreateBody asks for an allocation.
type CreateBody struct {
	CallerIDNumber string           `json:"caller_id_number" doc:"virtual number from the tenant's pool (E.164), or auto" example:"+914000000001"`
	From           []string         `json:"from" minItems:"1" maxItems:"10" doc:"A-party numbers (E.164)"`
	To             []string         `json:"to" minItems:"1" maxItems:"10" doc:"B-party numbers (E.164)"`
	Duration       *int64           `json:"duration,omitempty" minimum:"1" maximum:"14688000" doc:"validity in seconds; default 86400"`
	Record         *bool            `json:"record,omitempty" doc:"record calls; default false"`
	CustomField    *string          `json:"custom_field,omitempty" maxLength:"256" doc:"the application's own text, given back as it came"`
	Usage          *string          `json:"usage,omitempty" enum:"twoway,oneway" doc:"who may call: both sides (default), or only from"`
	Preferences    *PreferencesBody `json:"preferences,omitempty" doc:"narrow the choice of auto"`
}

// PreferencesBody narrows the automatic choice.
type PreferencesBody struct {
	Region     *string `json:"region,omitempty"`
	Type       *string `json:"type,omitempty"`
	Strictness *string `json:"strictness,omitempty" enum:"preferred,strict" doc:"whether another region or type will do (default) or not"`
}

// Created is the published answer to create.
type Created struct {
	GreenVNID     masking.AllocationID `json:"greenvn_id" example:"gvn_abc123"`
	VirtualNumber string               `json:"virtual_number"`
	From          []string             `json:"from"`
	To            []string             `json:"to"`
	Status        masking.Status       `json:"status" enum:"active,deleted"`
	Record        bool                 `json:"record"`
	CustomField   string               `json:"custom_field"`
	CreatedAt     string               `json:"created_at" format:"date-time"`
	ExpiresAt     string               `json:"expires_at" format:"date-time"`
	PINs          *PINs                `json:"pins,omitempty" doc:"only if the tenant's settings say pin_fallback"`
}

// PINs are what the people of a side enter when they call from another phone.
type PINs struct {
	From string `json:"from" example:"4821"`
	To   string `json:"to,omitempty" doc:"left out where that side may not call" example:"7305"`
}

// Allocation is the published answer to get, and after it what is additive:
// a field of ours appears only when it has something to say, so that a plain
// allocation reads exactly as published.
type Allocation struct {
	GreenVNID     masking.AllocationID `json:"greenvn_id" example:"gvn_abc123"`
	VirtualNumber string               `json:"virtual_number"`
	From          []string             `json:"from"`
	To            []string             `json:"to"`
	Status        masking.Status       `json:"status" enum:"active,deleted"`
	Record        bool                 `json:"record"`
	CustomField   string               `json:"custom_field"`
	CallCount     int64                `json:"call_count" doc:"incoming calls that matched, answered or not"`
	CreatedAt     string               `json:"created_at" format:"date-time"`
	ExpiresAt     string               `json:"expires_at" format:"date-time"`
	PINs          *PINs                `json:"pins,omitempty" doc:"only if it has some; left out of lists"`
	Usage         masking.Usage        `json:"usage,omitempty" enum:"oneway" doc:"only if oneway"`
	Calls         *CallTally           `json:"calls,omitempty" doc:"once call_count is not 0"`
	DeletedAt     string               `json:"deleted_at,omitempty" format:"date-time" doc:"once ended"`
	EndReason     masking.EndReason    `json:"end_reason,omitempty" enum:"api,admin,expired" doc:"once ended"`
}

// CallTally counts the calls of an allocation.
type CallTally struct {
	Attempted   int64 `json:"attempted"`
	Connected   int64 `json:"connected"`
	TalkSeconds int64 `json:"talk_seconds"`
}

// Updated is the published answer to both updates.
type Updated struct {
	GreenVNID     masking.AllocationID `json:"greenvn_id" example:"gvn_abc123"`
	VirtualNumber string               `json:"virtual_number"`
	From          []string             `json:"from"`
	To            []string             `json:"to"`
	Status        masking.Status       `json:"status" enum:"active,deleted"`
	UpdatedAt     string               `json:"updated_at" format:"date-time"`
	ExpiresAt     string               `json:"expires_at" format:"date-time"`
	PINs          *PINs                `json:"pins,omitempty" doc:"only if it has some: they may be new"`
}

// Patched is the answer to patch: as Updated, with what can be patched.
type Patched struct {
	GreenVNID     masking.AllocationID `json:"greenvn_id" example:"gvn_abc123"`
	VirtualNumber string               `json:"virtual_number"`
	From          []string             `json:"from"`
	To            []string             `json:"to"`
	Status        masking.Status       `json:"status" enum:"active,deleted"`
	Record        bool                 `json:"record"`
	CustomField   string               `json:"custom_field"`
	UpdatedAt     string               `json:"updated_at" format:"date-time"`
	ExpiresAt     string               `json:"expires_at" format:"date-time"`
}

// Deleted is the published answer to delete.
type Deleted struct {
	GreenVNID masking.AllocationID `json:"greenvn_id" example:"gvn_abc123"`
	Status    masking.Status       `json:"status" enum:"deleted"`
	DeletedAt string               `json:"deleted_at" format:"date-time"`
}

// AllocationPath names one allocation.
type AllocationPath struct {
	TenantPath
	GreenVNID string `path:"greenvn_id" doc:"as given at creation" example:"gvn_abc123"`
}

// id reads the identifier; what cannot be one is simply not found.
func (p AllocationPath) id() (masking.AllocationID, error) {
	return parseID[masking.AllocationID](masking.PrefixAllocation, p.GreenVNID)
}

// CreateInput is the request of create.
type CreateInput struct {
	TenantPath
	Keyed
	Body document[CreateBody]
}

// PartiesBody replaces one side or both.
type PartiesBody struct {
	From []string `json:"from,omitempty" minItems:"1" maxItems:"10" doc:"replacement A-party numbers"`
	To   []string `json:"to,omitempty" minItems:"1" maxItems:"10" doc:"replacement B-party numbers"`
}

// PartiesInput is the request of update parties.
type PartiesInput struct {
	AllocationPath
	Keyed
	Body document[PartiesBody]
}

// NumberBody names another virtual number.
type NumberBody struct {
	CallerIDNumber string `json:"caller_id_number" doc:"virtual number from the tenant's pool (E.164)"`
}

// VirtualNumberInput is the request of update number.
type VirtualNumberInput struct {
	AllocationPath
	Keyed
	Body document[NumberBody]
}

// PatchBody changes what the published page fixes at creation.
type PatchBody struct {
	Duration    *int64  `json:"duration,omitempty" minimum:"1" maximum:"14688000" doc:"seconds from now"`
	Record      *bool   `json:"record,omitempty"`
	CustomField *string `json:"custom_field,omitempty" maxLength:"256"`
}

// PatchInput is the request of patch.
type PatchInput struct {
	AllocationPath
	Keyed
	Body document[PatchBody]
}

// DeleteInput is the request of delete.
type DeleteInput struct {
	AllocationPath
	Keyed
	TerminateCalls bool `query:"terminate_calls" doc:"end connected calls too"`
}

// ListInput is the request of list.
type ListInput struct {
	TenantPath
	Paged
	Status string `query:"status" enum:"active,deleted"`
	Narrowed
}

// greenvn declares the operations on allocations.
func (r *router) greenvn() {
	operation[CreateInput, Created](r, tenantOp("POST", "/greenvn", "greenvn-create", "Create a VN allocation"), r.create)
	operation[AllocationPath, Allocation](r, tenantOp("GET", "/greenvn/{greenvn_id}", "greenvn-get", "Get VN allocation details"), r.get)
	operation[DeleteInput, Deleted](r, tenantOp("DELETE", "/greenvn/{greenvn_id}", "greenvn-delete", "Delete a VN allocation"), r.delete)
	operation[PartiesInput, Updated](r, tenantOp("PUT", "/greenvn/{greenvn_id}/call-party", "greenvn-update-parties", "Update party numbers"), r.updateParties)
	operation[VirtualNumberInput, Updated](r, tenantOp("PUT", "/greenvn/{greenvn_id}/vn", "greenvn-update-number", "Update the virtual number"), r.updateNumber)
	operation[PatchInput, Patched](r, tenantOp("PATCH", "/greenvn/{greenvn_id}", "greenvn-patch", "Change duration, recording or custom field"), r.patch)
	operation[ListInput, list[Allocation]](r, tenantOp("GET", "/greenvn", "greenvn-list", "List VN allocations, newest first"), r.list)
	operation[DeleteInput, Deleted](r, operatorOp("DELETE", "/tenants/{tenant_id}/greenvn/{greenvn_id}", "admin-greenvn-end", "End a tenant's allocation"), r.endForOperator)
}

func (s *server) create(ctx context.Context, in *CreateInput) (control.Answer, error) {
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
	return s.Plane.Allocations.Create(ctx, t, want, once(ctx, s, http.StatusCreated,
		func(a control.Snapshot) Created { return created(a, t.Settings.Zone) }))
}

// domain makes the request one of control.
func (b CreateBody) domain() (control.NewAllocation, error) {
	var want control.NewAllocation
	var err error
	if b.CallerIDNumber != automatic {
		if want.VirtualNumber, err = control.ParseNumber("caller_id_number", b.CallerIDNumber); err != nil {
			return want, err
		}
	}
	if want.From, err = control.ParseParties("from", b.From); err != nil {
		return want, err
	}
	if want.To, err = control.ParseParties("to", b.To); err != nil {
		return want, err
	}
	want.Duration = masking.DefaultDuration
	if b.Duration != nil {
		want.Duration = seconds(*b.Duration)
	}
	want.Record, want.CustomField = value(b.Record), value(b.CustomField)
	if want.Usage, err = choice("usage", value(b.Usage), masking.TwoWay, masking.OneWay); err != nil {
		return want, err
	}
	if p := b.Preferences; p != nil {
		strictness, err := choice("preferences.strictness", value(p.Strictness), "preferred", "strict")
		if err != nil {
			return want, err
		}
		want.Preferences = masking.Preferences{Region: value(p.Region), Type: value(p.Type), Strict: strictness == "strict"}
	}
	return want, nil
}

func (s *server) get(ctx context.Context, in *AllocationPath) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	a, err := s.Plane.Allocations.Get(ctx, t, id)
	if err != nil {
		return control.Answer{}, err
	}
	v := shown(a, t.Settings.Zone)
	v.PINs = pinsOf(a)
	return render(http.StatusOK, v), nil
}

func (s *server) delete(ctx context.Context, in *DeleteInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Allocations.Delete(ctx, t, id, in.TerminateCalls, once(ctx, s, http.StatusOK, deleted(t)))
}

func (s *server) endForOperator(ctx context.Context, in *DeleteInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	t, err := s.tenantOf(ctx, in.TenantPath)
	if err != nil {
		return control.Answer{}, err
	}
	return s.Plane.Allocations.End(ctx, t, id, in.TerminateCalls, once(ctx, s, http.StatusOK, deleted(t)))
}

func (s *server) updateParties(ctx context.Context, in *PartiesInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	from, err := replacement("from", body.From)
	if err != nil {
		return control.Answer{}, err
	}
	to, err := replacement("to", body.To)
	if err != nil {
		return control.Answer{}, err
	}
	if from == nil && to == nil {
		return control.Answer{}, missingField("", "at least one of from and to must be given")
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Allocations.UpdateParties(ctx, t, id, from, to, once(ctx, s, http.StatusOK, updatedWithPINs(t)))
}

// replacement reads a side that may be left out: nil stays nil.
func replacement(field string, texts []string) ([]e164.Number, error) {
	if texts == nil {
		return nil, nil
	}
	return control.ParseParties(field, texts)
}

func (s *server) updateNumber(ctx context.Context, in *VirtualNumberInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	n, err := control.ParseNumber("caller_id_number", body.CallerIDNumber)
	if err != nil {
		return control.Answer{}, err
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Allocations.UpdateNumber(ctx, t, id, n, once(ctx, s, http.StatusOK, updatedWithPINs(t)))
}

func (s *server) patch(ctx context.Context, in *PatchInput) (control.Answer, error) {
	id, err := in.id()
	if err != nil {
		return control.Answer{}, err
	}
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	p := masking.Patch{Record: body.Record, CustomField: body.CustomField}
	if body.Duration != nil {
		d := seconds(*body.Duration)
		p.Duration = &d
	}
	if p == (masking.Patch{}) {
		return control.Answer{}, missingField("", "at least one of duration, record and custom_field must be given")
	}
	t := exchangeOf(ctx).tenant
	return s.Plane.Allocations.Patch(ctx, t, id, p, once(ctx, s, http.StatusOK, patched(t)))
}

// Narrowed is what lists of allocations of both products are narrowed by.
type Narrowed struct {
	VirtualNumber string `query:"virtual_number" doc:"allocations on this number (E.164)"`
	Party         string `query:"party" doc:"allocations with this number on either side (E.164)"`
}

// query reads which page of which allocations is asked for; prefix is that of
// their identifiers.
func (n Narrowed) query(p Paged, prefix string) (q control.AllocationQuery, err error) {
	q.Limit = p.Limit
	if q.VirtualNumber, err = queryNumber("virtual_number", n.VirtualNumber); err != nil {
		return q, err
	}
	if q.Party, err = queryNumber("party", n.Party); err != nil {
		return q, err
	}
	q.After, err = cursorID[masking.AllocationID](prefix, p.Cursor)
	return q, err
}

func (s *server) list(ctx context.Context, in *ListInput) (control.Answer, error) {
	q, err := in.query(in.Paged, masking.PrefixAllocation)
	if err != nil {
		return control.Answer{}, err
	}
	q.Status = masking.Status(in.Status)
	t := exchangeOf(ctx).tenant
	page, more, err := s.Plane.Allocations.List(ctx, t, q)
	if err != nil {
		return control.Answer{}, err
	}
	present := func(a control.Snapshot) Allocation { return shown(a, t.Settings.Zone) }
	return render(http.StatusOK, newList(page, present, more,
		func(a control.Snapshot) string { return cursor(string(a.ID)) })), nil
}

func created(a control.Snapshot, zone *time.Location) Created {
	return Created{GreenVNID: a.ID, VirtualNumber: a.VirtualNumber.E164(), From: masking.Texts(a.From), To: masking.Texts(a.To),
		Status: a.Status(a.At), Record: a.Record, CustomField: a.CustomField,
		CreatedAt: masking.Stamp(a.CreatedAt, zone), ExpiresAt: masking.Stamp(a.ExpiresAt, zone), PINs: pinsOf(a)}
}

// pinsOf shows the PINs of a GreenVN allocation, nil where it has none.
func pinsOf(a control.Snapshot) *PINs {
	if a.PIN == "" {
		return nil
	}
	return &PINs{From: a.PIN.Reveal(), To: a.ToPIN.Reveal()}
}

func tally(t masking.Tally) *CallTally {
	if t.Calls == 0 {
		return nil
	}
	return &CallTally{Attempted: t.Calls, Connected: t.Connected, TalkSeconds: t.TalkSeconds}
}

// shown shows all but the PINs.
func shown(a control.Snapshot, zone *time.Location) Allocation {
	v := Allocation{GreenVNID: a.ID, VirtualNumber: a.VirtualNumber.E164(), From: masking.Texts(a.From), To: masking.Texts(a.To),
		Status: a.Status(a.At), Record: a.Record, CustomField: a.CustomField, CallCount: a.Tally.Calls,
		CreatedAt: masking.Stamp(a.CreatedAt, zone), ExpiresAt: masking.Stamp(a.ExpiresAt, zone), Calls: tally(a.Tally)}
	if a.Usage != masking.TwoWay {
		v.Usage = a.Usage
	}
	if at, why, ended := a.Ended(a.At); ended {
		v.DeletedAt, v.EndReason = masking.Stamp(at, zone), why
	}
	return v
}

func updated(t masking.Tenant) func(control.Snapshot) Updated {
	return func(a control.Snapshot) Updated {
		return Updated{GreenVNID: a.ID, VirtualNumber: a.VirtualNumber.E164(), From: masking.Texts(a.From), To: masking.Texts(a.To),
			Status: a.Status(a.At), UpdatedAt: masking.Stamp(a.UpdatedAt, t.Settings.Zone), ExpiresAt: masking.Stamp(a.ExpiresAt, t.Settings.Zone)}
	}
}

// updatedWithPINs is for changes that may give an allocation other PINs.
func updatedWithPINs(t masking.Tenant) func(control.Snapshot) Updated {
	return func(a control.Snapshot) Updated {
		v := updated(t)(a)
		v.PINs = pinsOf(a)
		return v
	}
}

func patched(t masking.Tenant) func(control.Snapshot) Patched {
	return func(a control.Snapshot) Patched {
		return Patched{GreenVNID: a.ID, VirtualNumber: a.VirtualNumber.E164(), From: masking.Texts(a.From), To: masking.Texts(a.To),
			Status: a.Status(a.At), Record: a.Record, CustomField: a.CustomField,
			UpdatedAt: masking.Stamp(a.UpdatedAt, t.Settings.Zone), ExpiresAt: masking.Stamp(a.ExpiresAt, t.Settings.Zone)}
	}
}

func deleted(t masking.Tenant) func(control.Snapshot) Deleted {
	return func(a control.Snapshot) Deleted {
		at, _, _ := a.Ended(a.At)
		return Deleted{GreenVNID: a.ID, Status: a.Status(a.At), DeletedAt: masking.Stamp(at, t.Settings.Zone)}
	}
}
