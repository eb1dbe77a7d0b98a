package client

import (
	"context"
	"net/http"
)

// Settings are what a tenant sets himself.
type Settings struct {
	Timezone               string         `json:"timezone"`
	Country                string         `json:"country"`
	Language               string         `json:"language"`
	MaxDuration            int64          `json:"max_duration"` // seconds
	RingSeconds            int64          `json:"ring_seconds"`
	RingTotalSeconds       int64          `json:"ring_total_seconds"`
	RingStrategy           string         `json:"ring_strategy"`
	MaxCallSeconds         int64          `json:"max_call_seconds"`
	EndCallsWithAllocation bool           `json:"end_calls_with_allocation"`
	MaxAllocationCalls     int64          `json:"max_allocation_calls"`
	MaxCallerRate          int64          `json:"max_caller_calls_per_minute"`
	PINLength              int64          `json:"pin_length"`
	PINFallback            bool           `json:"pin_fallback"`
	StrangerPolicy         StrangerPolicy `json:"stranger_policy"`
	RecordingAnnouncement  bool           `json:"recording_announcement"`
	RecordingRetentionDays int64          `json:"recording_retention_days"`
	RetentionDays          int64          `json:"retention_days"`
	StrangerWebhookSecret  string         `json:"stranger_webhook_secret"`
	AllowedPrefixes        []string       `json:"allowed_prefixes"`
	MaxCallsPerDay         int64          `json:"max_allocation_calls_per_day"`
	MaxMinutesPerDay       int64          `json:"max_allocation_minutes_per_day"`
	VelocityAlarm          VelocityAlarm  `json:"velocity_alarm"`
}

// VelocityAlarm tells of calls that come faster than they should; 0 is any number.
type VelocityAlarm struct {
	Minutes         int64 `json:"minutes"`
	CallerCalls     int64 `json:"caller_calls"`
	AllocationCalls int64 `json:"allocation_calls"`
	TenantCalls     int64 `json:"tenant_calls"`
	Block           bool  `json:"block"`
}

// VelocityAlarmChange changes what it names; nil leaves a member as it is.
type VelocityAlarmChange struct {
	Minutes         *int64 `json:"minutes,omitempty"`
	CallerCalls     *int64 `json:"caller_calls,omitempty"`
	AllocationCalls *int64 `json:"allocation_calls,omitempty"`
	TenantCalls     *int64 `json:"tenant_calls,omitempty"`
	Block           *bool  `json:"block,omitempty"`
}

// StrangerPolicy is what a caller gets whom no allocation lets through.
type StrangerPolicy struct {
	Action     string `json:"action"` // announce, pin, forward, webhook, reject; of a number also tenant
	ForwardTo  string `json:"forward_to,omitempty"`
	WebhookURL string `json:"webhook_url,omitempty"`
}

// SettingsChange changes what it names; nil leaves a setting as it is.
type SettingsChange struct {
	Timezone               *string         `json:"timezone,omitempty"`
	Country                *string         `json:"country,omitempty"`
	Language               *string         `json:"language,omitempty"`
	MaxDuration            *int64          `json:"max_duration,omitempty"`
	RingSeconds            *int64          `json:"ring_seconds,omitempty"`
	RingTotalSeconds       *int64          `json:"ring_total_seconds,omitempty"`
	RingStrategy           *string         `json:"ring_strategy,omitempty"`
	MaxCallSeconds         *int64          `json:"max_call_seconds,omitempty"`
	EndCallsWithAllocation *bool           `json:"end_calls_with_allocation,omitempty"`
	MaxAllocationCalls     *int64          `json:"max_allocation_calls,omitempty"`
	MaxCallerRate          *int64          `json:"max_caller_calls_per_minute,omitempty"`
	PINLength              *int64          `json:"pin_length,omitempty"`
	PINFallback            *bool           `json:"pin_fallback,omitempty"`
	StrangerPolicy         *StrangerPolicy `json:"stranger_policy,omitempty"`
	RecordingAnnouncement  *bool           `json:"recording_announcement,omitempty"`
	RecordingRetentionDays *int64          `json:"recording_retention_days,omitempty"`
	RetentionDays          *int64          `json:"retention_days,omitempty"`

	AllowedPrefixes  *[]string            `json:"allowed_prefixes,omitempty"`
	MaxCallsPerDay   *int64               `json:"max_allocation_calls_per_day,omitempty"`
	MaxMinutesPerDay *int64               `json:"max_allocation_minutes_per_day,omitempty"`
	VelocityAlarm    *VelocityAlarmChange `json:"velocity_alarm,omitempty"`
}

// Settings reads the tenant's settings.
func (c *Client) Settings(ctx context.Context, tenant string) (Settings, error) {
	return do[Settings](ctx, c, asTenant, request{method: http.MethodGet, path: own(tenant, "settings")})
}

// ChangeSettings changes the tenant's settings.
func (c *Client) ChangeSettings(ctx context.Context, tenant string, in SettingsChange, calls ...Call) (Settings, error) {
	return do[Settings](ctx, c, asTenant, request{method: http.MethodPut, path: own(tenant, "settings"), body: in, calls: calls})
}
