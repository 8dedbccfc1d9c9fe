"""The C sources with places for what differs from law to law."""

from __future__ import annotations

HEADER = """\
/* Control law designed with koopctl $version: u = u_steady - K (q - q_steady), clipped to its bounds.
 *
 * Call law_step once every LAW_DT seconds.
 *
 * y, $ny numbers, the observation:
$y_lines
 *
 * u, $nu numbers, the input:
$u_lines
 *
 * q, $nq numbers, the coordinates that the law reads off y (angles in radians):
$q_lines
 */
#ifndef LAW_H
#define LAW_H

#define LAW_NY $ny
#define LAW_NQ $nq
#define LAW_NU $nu
#define LAW_DT $dt /* [s] */

/* What law_step returns. */
#define LAW_SOLVED 0 /* the law's own answer */
#define LAW_SAFE 1   /* the safe input: y, or what follows from it, is not finite */

#ifdef __cplusplus
extern "C" {
#endif

/* The past of one law; the rate bounds need it. */
typedef struct {
    double u_last[LAW_NU];
} law_state;

/* Forget the past. Call it before the first step of a run. */
void law_reset(law_state *law);

/* Write the input for the observation y to u, always finite and within the bounds. */
int law_step(law_state *law, const double *y, double *u);

#ifdef __cplusplus
}
#endif

#endif
"""

SOURCE = """\
/* Written by koopctl $version; see law.h. Needs C99 and its mathematics library, no heap, no files. */
#include "law.h"

#include <math.h>

#ifdef __FAST_MATH__
#error "compile without -ffast-math: it removes the checks for NaN and inf"
#endif

#define N_USED $n_used

static const double PI = 3.14159265358979323846;

static const int USED[N_USED] = $used; /* entries of y that must be finite */
static const int IS_ANGLE[LAW_NQ] = $is_angle;
static const double Q_STEADY[LAW_NQ] = $q_steady;
static const double U_STEADY[LAW_NU] = $u_steady;
static const double U_SAFE[LAW_NU] = $u_safe;
static const double U_MIN[LAW_NU] = $u_min;
static const double U_MAX[LAW_NU] = $u_max;
static const double DU_MAX[LAW_NU] = $du_max;
static const double K[LAW_NU][LAW_NQ] = $gain;

static double clip(double value, double low, double high)
{
    const double raised = value < low ? low : value;
    return raised > high ? high : raised;
}

/* Wrap an angle into [-pi, pi). */
static double wrap(double angle)
{
    const double rest = fmod(angle + PI, 2.0 * PI);
    return (rest < 0.0 ? rest + 2.0 * PI : rest) - PI;
}

static void read_coordinates(const double *y, double *q)
{
    $reads
}

/* Write the law's own answer to u; return 0 where it is not finite. */
static int answer(const double *y, double *u)
{
    double q[LAW_NQ];
    int i, j;
    for (i = 0; i < N_USED; i++) {
        if (!isfinite(y[USED[i]])) {
            return 0;
        }
    }
    read_coordinates(y, q);
    for (j = 0; j < LAW_NQ; j++) {
        q[j] -= Q_STEADY[j];
        if (IS_ANGLE[j]) {
            q[j] = wrap(q[j]);
        }
    }
    for (i = 0; i < LAW_NU; i++) {
        double sum = 0.0;
        for (j = 0; j < LAW_NQ; j++) {
            sum += K[i][j] * q[j];
        }
        u[i] = U_STEADY[i] - sum;
        if (!isfinite(u[i])) {
            return 0;
        }
    }
    return 1;
}

void law_reset(law_state *law)
{
    int i;
    for (i = 0; i < LAW_NU; i++) {
        law->u_last[i] = U_SAFE[i];
    }
}

int law_step(law_state *law, const double *y, double *u)
{
    double wish[LAW_NU]; /* y and u may be the same memory */
    const int solved = answer(y, wish);
    int i;
    for (i = 0; i < LAW_NU; i++) {
        const double value = solved ? wish[i] : U_SAFE[i];
        const double near = clip(value, law->u_last[i] - DU_MAX[i], law->u_last[i] + DU_MAX[i]);
        u[i] = clip(near, U_MIN[i], U_MAX[i]);
        law->u_last[i] = u[i];
    }
    return solved ? LAW_SOLVED : LAW_SAFE;
}
"""

EXAMPLE = """\
/* Reads observations from stdin, LAW_NY numbers each, and prints the input for each: LAW_NU numbers and the status. */
#include "law.h"

#include <stdio.h>

int main(void)
{
    law_state law;
    double y[LAW_NY], u[LAW_NU];
    int i, status;
    law_reset(&law);
    for (;;) {
        for (i = 0; i < LAW_NY; i++) {
            if (scanf("%lf", &y[i]) != 1) {
                return 0;
            }
        }
        status = law_step(&law, y, u);
        for (i = 0; i < LAW_NU; i++) {
            printf("%.17g ", u[i]);
        }
        printf("%d\\n", status);
    }
}
"""

MAKEFILE = """\
CFLAGS = -std=c99 -O2 -Wall -Wextra -pedantic

example: main.o law.o
	$$(CC) $$(CFLAGS) -o $$@ main.o law.o -lm

main.o law.o: law.h

clean:
	rm -f example main.o law.o

.PHONY: clean
"""
