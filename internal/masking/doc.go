// Package masking is the domain of Tandem: tenants, virtual numbers,
// allocations, claims, calls and events, and the rules about them.
//
// The rules are pure. They take values, the present time among them, and give
// values or an [*Error]; they read no clock, no database and no network, so
// that the API, the voice plane and a test decide alike. Every package may use
// this one; it uses only e164.
package masking
