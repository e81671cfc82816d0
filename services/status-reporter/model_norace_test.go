//go:build !race

package statusreporter

// crashes is how many crashes the model explores.
const crashes = 2
