package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"tandem/internal/control"
	"tandem/internal/masking"
)

// Settings are what a tenant may differ in and sets himself.
type Settings struct {
	Timezone               string         `json:"timezone" doc:"IANA name; how times are written"`
	Country                string         `json:"country" doc:"ISO 3166 alpha-2: whose tones a caller hears"`
	Language               string         `json:"language" doc:"ISO 639-1: of the announcements"`
	MaxDuration            int64          `json:"max_duration" doc:"the longest life of an allocation, in seconds"`
	RingSeconds            int64          `json:"ring_seconds" doc:"how long one number rings"`
	RingTotalSeconds       int64          `json:"ring_total_seconds" doc:"how long a caller hears ringing in all"`
	RingStrategy           string         `json:"ring_strategy" enum:"sequential,simultaneous,round_robin,sticky_last" doc:"in which order the numbers of a side are rung"`
	MaxCallSeconds         int64          `json:"max_call_seconds" doc:"how long a talk may last; both sides are warned a minute before its end"`
	EndCallsWithAllocation bool           `json:"end_calls_with_allocation" doc:"a talk ends when its allocation expires; both sides are warned a minute before"`
	MaxAllocationCalls     int64          `json:"max_allocation_calls" doc:"calls up at once through one allocation; 0: any number"`
	MaxCallerRate          int64          `json:"max_caller_calls_per_minute" doc:"calls of one caller in a minute; 0: any number"`
	PINLength              int64          `json:"pin_length" doc:"digits of a new PIN, while its number is not too full for it"`
	PINFallback            bool           `json:"pin_fallback" doc:"GreenVN allocations get PINs for calls from another phone"`
	StrangerPolicy         StrangerPolicy `json:"stranger_policy"`
	RecordingAnnouncement  bool           `json:"recording_announcement" doc:"both sides hear that the call is recorded before it is"`
	RecordingRetentionDays int64          `json:"recording_retention_days" doc:"how long a recording is kept; 0: until it is deleted"`
	RetentionDays          int64          `json:"retention_days" doc:"how long ended allocations, calls and events are kept; 0: until you are removed"`
	GuardSettings
}

// StrangerPolicy is what a caller gets whom no allocation lets through.
type StrangerPolicy struct {
	Action     masking.StrangerAction `json:"action" enum:"announce,pin,forward,webhook,reject"`
	ForwardTo  string                 `json:"forward_to,omitempty" doc:"the number that forward rings (E.164)"`
	WebhookURL string                 `json:"webhook_url,omitempty" doc:"the address that webhook asks"`
}

// SettingsShown is the answer to a tenant who asks for his settings.
type SettingsShown struct {
	Settings
	StrangerWebhookSecret string `json:"stranger_webhook_secret,omitempty" doc:"signs what webhook asks; cannot be changed"`
}

// SettingsBody changes settings; omitted keeps its value.
type SettingsBody struct {
	Timezone               *string             `json:"timezone,omitempty" doc:"IANA name; at first Asia/Kolkata"`
	Country                *string             `json:"country,omitempty" pattern:"^[A-Z]{2}$" doc:"at first IN"`
	Language               *string             `json:"language,omitempty" pattern:"^[a-z]{2}$" doc:"at first en"`
	MaxDuration            *int64              `json:"max_duration,omitempty" minimum:"1" maximum:"14688000" doc:"seconds"`
	RingSeconds            *int64              `json:"ring_seconds,omitempty" minimum:"5" maximum:"180" doc:"at first 20"`
	RingTotalSeconds       *int64              `json:"ring_total_seconds,omitempty" minimum:"5" maximum:"600" doc:"at first 60"`
	RingStrategy           *string             `json:"ring_strategy,omitempty" enum:"sequential,simultaneous,round_robin,sticky_last" doc:"at first sequential"`
	MaxCallSeconds         *int64              `json:"max_call_seconds,omitempty" minimum:"60" maximum:"86400" doc:"at first 14400"`
	EndCallsWithAllocation *bool               `json:"end_calls_with_allocation,omitempty"`
	MaxAllocationCalls     *int64              `json:"max_allocation_calls,omitempty" minimum:"0" maximum:"1000000"`
	MaxCallerRate          *int64              `json:"max_caller_calls_per_minute,omitempty" minimum:"0" maximum:"1000000"`
	PINLength              *int64              `json:"pin_length,omitempty" minimum:"4" maximum:"8" doc:"at first 4"`
	PINFallback            *bool               `json:"pin_fallback,omitempty"`
	StrangerPolicy         *StrangerPolicyBody `json:"stranger_policy,omitempty" doc:"replaced as a whole; at first announce"`
	RecordingAnnouncement  *bool               `json:"recording_announcement,omitempty"`
	RecordingRetentionDays *int64              `json:"recording_retention_days,omitempty" minimum:"0" maximum:"3650"`
	RetentionDays          *int64              `json:"retention_days,omitempty" minimum:"0" maximum:"3650" doc:"if not 0, recording_retention_days must be 1 to as much"`
	GuardSettingsBody
}

// StrangerPolicyBody names an action and what it needs.
type StrangerPolicyBody struct {
	Action     string  `json:"action" enum:"announce,pin,forward,webhook,reject,tenant" doc:"tenant only for a number: what the tenant's settings say"`
	ForwardTo  *string `json:"forward_to,omitempty" doc:"with forward: the number to ring (E.164)"`
	WebhookURL *string `json:"webhook_url,omitempty" doc:"with webhook: the http or https address to ask"`
}

// ChangeSettingsInput is the request of changing settings.
type ChangeSettingsInput struct {
	TenantPath
	Keyed
	Body document[SettingsBody]
}

// settings declares the operations on what a tenant sets himself.
func (r *router) settings() {
	op := func(method, id, summary string) huma.Operation {
		op := tenantOp(method, "/settings", "settings-"+id, summary)
		op.Tags = []string{"Settings"}
		return op
	}
	operation[TenantPath, SettingsShown](r, op("GET", "get", "Get your settings"), r.getSettings)
	operation[ChangeSettingsInput, SettingsShown](r, op("PUT", "change", "Change your settings"), r.changeSettings)
}

func (s *server) getSettings(ctx context.Context, _ *TenantPath) (control.Answer, error) {
	c, err := s.Plane.Settings.Get(ctx, exchangeOf(ctx).tenant.ID)
	if err != nil {
		return control.Answer{}, err
	}
	return render(http.StatusOK, shownSettings(c)), nil
}

func (s *server) changeSettings(ctx context.Context, in *ChangeSettingsInput) (control.Answer, error) {
	body, err := in.Body.decode()
	if err != nil {
		return control.Answer{}, err
	}
	id := exchangeOf(ctx).tenant.ID
	defer s.guard.Forget(id)
	return s.Plane.Settings.Update(ctx, id, body.adjust, once(ctx, s, http.StatusOK, shownSettings))
}

func shownSettings(c control.Configured) SettingsShown {
	return SettingsShown{presentSettings(c.Settings), c.StrangerSecret}
}

func presentSettings(s masking.Settings) Settings {
	return Settings{Timezone: s.Zone.String(), Country: s.Country, Language: s.Language,
		MaxDuration: int64(s.MaxDuration / time.Second), RingSeconds: int64(s.RingEach / time.Second),
		RingTotalSeconds: int64(s.RingTotal / time.Second), RingStrategy: string(s.Ring),
		MaxCallSeconds: int64(s.MaxCall / time.Second), EndCallsWithAllocation: s.EndWithAllocation,
		MaxAllocationCalls: int64(s.MaxAllocationCalls), MaxCallerRate: int64(s.MaxCallerRate), PINLength: int64(s.PINLength), PINFallback: s.PINFallback,
		StrangerPolicy: presentStrangers(s.Strangers), RecordingAnnouncement: s.RecordingNotice,
		RecordingRetentionDays: int64(s.RecordingRetention / day), RetentionDays: int64(s.Retention / day), GuardSettings: presentGuards(s.Guards)}
}

func presentStrangers(p masking.StrangerPolicy) StrangerPolicy {
	return StrangerPolicy{Action: p.Action, ForwardTo: p.Forward.E164(), WebhookURL: p.URL}
}

// adjust changes the settings that the body names.
func (b SettingsBody) adjust(s *masking.Settings) error {
	if b.Timezone != nil {
		zone, err := loadZone(*b.Timezone)
		if err != nil {
			return err
		}
		s.Zone = zone
	}
	if b.StrangerPolicy != nil {
		policy, err := b.StrangerPolicy.domain()
		if err != nil {
			return err
		}
		s.Strangers = policy
	}
	set(&s.Country, b.Country)
	set(&s.Language, b.Language)
	setSeconds(&s.MaxDuration, b.MaxDuration)
	setSeconds(&s.RingEach, b.RingSeconds)
	setSeconds(&s.RingTotal, b.RingTotalSeconds)
	if b.RingStrategy != nil {
		s.Ring = masking.RingStrategy(*b.RingStrategy)
	}
	setSeconds(&s.MaxCall, b.MaxCallSeconds)
	set(&s.EndWithAllocation, b.EndCallsWithAllocation)
	setInt(&s.MaxAllocationCalls, b.MaxAllocationCalls)
	setInt(&s.MaxCallerRate, b.MaxCallerRate)
	setInt(&s.PINLength, b.PINLength)
	set(&s.PINFallback, b.PINFallback)
	set(&s.RecordingNotice, b.RecordingAnnouncement)
	setDays(&s.RecordingRetention, b.RecordingRetentionDays)
	setDays(&s.Retention, b.RetentionDays)
	return b.GuardSettingsBody.adjust(&s.Guards)
}

const day = 24 * time.Hour

// domain reads a policy. What does not belong to its action is refused: it was
// meant to have an effect.
func (b StrangerPolicyBody) domain() (p masking.StrangerPolicy, err error) {
	p.Action = masking.StrangerAction(b.Action)
	switch {
	case b.Action == "":
		return p, invalidField("stranger_policy.action", "stranger_policy.action must name an action")
	case b.ForwardTo != nil && p.Action != masking.Forward:
		return p, invalidField("stranger_policy.forward_to", `stranger_policy.forward_to goes with the action "forward" alone`)
	case b.WebhookURL != nil && p.Action != masking.AskWebhook:
		return p, invalidField("stranger_policy.webhook_url", `stranger_policy.webhook_url goes with the action "webhook" alone`)
	case b.ForwardTo != nil:
		if p.Forward, err = control.ParseNumber("stranger_policy.forward_to", *b.ForwardTo); err != nil {
			return p, err
		}
	}
	p.URL = value(b.WebhookURL)
	return p, p.Check()
}

// likeTenant is the action of a number that has no policy of its own.
const likeTenant = "tenant"

// ofNumber reads the policy of a number: its own, or none.
func (b StrangerPolicyBody) ofNumber() (masking.StrangerPolicy, error) {
	if b.Action == likeTenant && b.ForwardTo == nil && b.WebhookURL == nil {
		return masking.StrangerPolicy{}, nil
	}
	return b.domain()
}

// loadZone finds a time zone by its IANA name. "" and "Local", which mean
// something to Go, are no names.
func loadZone(name string) (*time.Location, error) {
	if name == "" || strings.EqualFold(name, "local") {
		return nil, invalidField("timezone", "timezone must be an IANA name such as Asia/Kolkata")
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, invalidField("timezone", "timezone must be an IANA name such as Asia/Kolkata")
	}
	return zone, nil
}

func set[T any](field *T, given *T) {
	if given != nil {
		*field = *given
	}
}

// setInt sets a count; one that does not fit stays out of every range.
func setInt(field *int, given *int64) {
	if given != nil {
		*field = int(max(min(*given, 1<<31-1), -1))
	}
}

func setDays(field *time.Duration, given *int64) {
	if given != nil {
		*field = time.Duration(max(min(*given, 1<<14), -1)) * day // no more than overflows, and out of range
	}
}

func setSeconds(field *time.Duration, given *int64) {
	if given != nil {
		*field = seconds(*given)
	}
}
