/* The two formats of segments (packed.cuh) as gemv_columns.cuh walks through them.
 *
 * Products are made on the matrix units with x on the diagonal of one operand: the values of a lane
 * go in as they are, and its four sums come out in float32, with neither conversion nor addition as
 * an instruction of its own. The zeros beside the diagonal meet the values of other rows, so a
 * weight or an input that is not finite makes NaN of rows beside its own too. */
#ifndef DUO_BACKEND_CUDA_GEMV_FORMATS_CUH
#define DUO_BACKEND_CUDA_GEMV_FORMATS_CUH

#include "harness/backend/cuda/bulk_copy.cuh"
#include "harness/backend/cuda/packed.cuh"

/* An active column. */
template <typename T> struct active {
    unsigned at;     /* where its segment begins, in units of 16 bytes */
    unsigned size_x; /* its units << 16 | the bits of x */

    static __device__ __forceinline__ active make(unsigned at, unsigned size, T x)
    {
        return {at, size << 16 | (unsigned)*(unsigned short *)&x};
    }
    __device__ __forceinline__ unsigned size(void) const
    {
        return size_x >> 16;
    }
};
template <> struct active<float> {
    unsigned at, size_;
    float x;
    unsigned unused;

    static __device__ __forceinline__ active make(unsigned at, unsigned size, float x)
    {
        return {at, size, x, 0};
    }
    __device__ __forceinline__ unsigned size(void) const
    {
        return size_;
    }
};

#ifdef __CUDACC__

__device__ __forceinline__ void load_words(unsigned (&w)[4], unsigned at)
{
    asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
                 : "r"(at));
}

/* ---- products on the matrix units: sum[i] += a_i x for four values of this lane, with x on the
 * diagonal of the other operand, so that neither conversion nor addition is an instruction of its
 * own. Products are exact, sums in float32. */

/* a: packed pairs (0, 1), (2, 3); b: x in the half that pairs(x) says */
template <typename T>
__device__ __forceinline__ void add_pairs(float (&d)[4], unsigned a0, unsigned a1, unsigned b)
{
    if constexpr (sizeof(T) == 2 && __is_same(T, __half))
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a0), "r"(a1), "r"(b));
    else
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a0), "r"(a1), "r"(b));
}

/* v: four values, each in the low half of a word; sums come in the order 0, 2, 1, 3 */
template <typename T>
__device__ __forceinline__ void add_single(float (&d)[4], const unsigned (&v)[4], unsigned b0,
                                           unsigned b1)
{
    if constexpr (__is_same(T, __half))
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]), "r"(b0), "r"(b1));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3]), "r"(b0), "r"(b1));
}

/* The values of four consecutive rows, packed from `at` on where the low bits of mask are set, as
 * words; 0 for the others. */
template <int NBYTES>
__device__ __forceinline__ void expand4(unsigned (&v)[4], unsigned mask, unsigned at)
{
    if constexpr (NBYTES == 2)
        asm volatile("{\n.reg .pred p, q, r, s;\n.reg .b32 t, a;\nmov.b32 a, %5;\n"
                     "and.b32 t, %4, 1;\nsetp.ne.u32 p, t, 0;\n"
                     "and.b32 t, %4, 2;\nsetp.ne.u32 q, t, 0;\n"
                     "and.b32 t, %4, 4;\nsetp.ne.u32 r, t, 0;\n"
                     "and.b32 t, %4, 8;\nsetp.ne.u32 s, t, 0;\n"
                     "mov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
                     "@p ld.shared.u16 %0, [a];\n@p add.u32 a, a, 2;\n"
                     "@q ld.shared.u16 %1, [a];\n@q add.u32 a, a, 2;\n"
                     "@r ld.shared.u16 %2, [a];\n@r add.u32 a, a, 2;\n"
                     "@s ld.shared.u16 %3, [a];\n}"
                     : "=&r"(v[0]), "=&r"(v[1]), "=&r"(v[2]), "=&r"(v[3])
                     : "r"(mask), "r"(at));
    else
        asm volatile("{\n.reg .pred p, q, r, s;\n.reg .b32 t, a;\nmov.b32 a, %5;\n"
                     "and.b32 t, %4, 1;\nsetp.ne.u32 p, t, 0;\n"
                     "and.b32 t, %4, 2;\nsetp.ne.u32 q, t, 0;\n"
                     "and.b32 t, %4, 4;\nsetp.ne.u32 r, t, 0;\n"
                     "and.b32 t, %4, 8;\nsetp.ne.u32 s, t, 0;\n"
                     "mov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
                     "@p ld.shared.u32 %0, [a];\n@p add.u32 a, a, 4;\n"
                     "@q ld.shared.u32 %1, [a];\n@q add.u32 a, a, 4;\n"
                     "@r ld.shared.u32 %2, [a];\n@r add.u32 a, a, 4;\n"
                     "@s ld.shared.u32 %3, [a];\n}"
                     : "=&r"(v[0]), "=&r"(v[1]), "=&r"(v[2]), "=&r"(v[3])
                     : "r"(mask), "r"(at));
}

/* ---- the two formats */

/* What walk() works on: the list, the first byte of this block's segments (PACKED_NONZEROS: of
 * all), and shared memory by address: WARPS * SLOTS slots of `slot` bytes, a barrier for each. */
template <typename T> struct walk_args {
    const active<T> *list;
    unsigned n, rows;
    const unsigned char *data;
    unsigned ring, slot, bars;
};

/* Both: begin(): where the segment of column c of this panel begins, in units of 16 bytes; its end
 * is the begin of the next. begin9(): those of columns c to c + 8 for c a multiple of 8, garbage
 * behind the end of the last one. walk(): sum += this warp's part of the list. store(): the sums to
 * out[BLOCK_ROWS], by row. */

template <typename T, int DEPTH> struct nonzeros {
    using value = T;
    static constexpr bool HAS_TABLES = true;
    static constexpr int SLOTS = DEPTH; /* copies in flight, a warp */

    static __device__ __forceinline__ unsigned begin(const unsigned *groups, unsigned n_groups,
                                                     unsigned, unsigned c)
    {
        return groups[c / 32] + ((const unsigned short *)(groups + n_groups))[c];
    }

    static __device__ __forceinline__ void begin9(unsigned (&at)[9], const unsigned *groups,
                                                  unsigned n_groups, unsigned rows, unsigned c)
    {
        vec<unsigned short, 8> d = ((const vec<unsigned short, 8> *)(groups + n_groups))[c / 8];

#pragma unroll
        for (int i = 0; i < 8; i++)
            at[i] = groups[c / 32] + d.v[i];
        at[8] = begin(groups, n_groups, rows, c + 8);
    }

    /* sum += the segment at this address times x: lane l owns rows 128 q + 4 l to 128 q + 4 l + 3.
     */
    static __device__ __forceinline__ void add(float (&sum)[8][4], unsigned at, active<T> a,
                                               unsigned lane)
    {
        const unsigned j = lane / 8, shift = 4 * (lane % 8), below = (1u << shift) - 1;
        unsigned w[8], start, values, b0 = 0, b1 = 0;

        if constexpr (sizeof(T) == 2) {
            const unsigned row = lane / 4, pair = lane % 4;

            b0 = row == 2 * pair ? a.size_x & 0xffff : 0;
            b1 = row == 2 * pair + 1 ? a.size_x & 0xffff : 0;
        }
        load_words(*(unsigned(*)[4])w, at + 32 * j);
        load_words(*(unsigned(*)[4])(w + 4), at + 32 * j + 16);
        asm volatile("ld.shared.u16 %0, [%1];" : "=r"(start) : "r"(at + MASK_NBYTES + 2 * j));
        values = at + HEAD_NBYTES + start * (unsigned)sizeof(T);
#pragma unroll
        for (int q = 0; q < 8; q++) {
            unsigned v[4];

            expand4<sizeof(T)>(v, w[q] >> shift,
                               values + (unsigned)sizeof(T) * __popc(w[q] & below));
            values += (unsigned)sizeof(T) * __popc(w[q]);
            if constexpr (sizeof(T) == 2) {
                add_single<T>(sum[q], v, b0, b1);
            } else {
#pragma unroll
                for (int i = 0; i < 4; i++)
                    sum[q][i] = fmaf(__uint_as_float(v[i]), a.x, sum[q][i]);
            }
        }
    }

    template <int WARPS>
    static __device__ __forceinline__ void walk(float (&sum)[8][4], const struct walk_args<T> &g)
    {
        const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        const unsigned ring = g.ring + warp * DEPTH * g.slot, bars = g.bars + 8 * warp * DEPTH;
        unsigned slot = 0, phase = 0;
        auto issue = [&](unsigned m, unsigned to) {
            if (lane == 0 && m < g.n)
                copy_in(ring + to * g.slot, g.data + (size_t)g.list[m].at * 16,
                        g.list[m].size() * 16, bars + 8 * to);
        };

#pragma unroll
        for (int i = 0; i < DEPTH; i++)
            issue(warp + i * WARPS, i);
        for (unsigned m = warp; m < g.n; m += WARPS) {
            active<T> a = g.list[m];

            barrier_wait(bars + 8 * slot, phase);
            add(sum, ring + slot * g.slot, a, lane);
            __syncwarp();
            issue(m + DEPTH * WARPS, slot);
            slot = slot + 1 == DEPTH ? 0 : slot + 1;
            phase ^= slot == 0;
        }
    }

    static __device__ __forceinline__ void store(float *out, const float (&sum)[8][4],
                                                 unsigned lane)
    {
        constexpr int ONE = sizeof(T) == 2 ? 2 : 1; /* where the sum of row 1 is */

#pragma unroll
        for (int q = 0; q < 8; q++)
            ((float4 *)out)[q * 32 + lane] =
                make_float4(sum[q][0], sum[q][ONE], sum[q][3 - ONE], sum[q][3]);
    }
};

template <typename T> struct columns {
    using value = T;
    static constexpr bool HAS_TABLES = false;
    static constexpr int SLOTS = 0;
    static constexpr unsigned PER = 16 / sizeof(T), LOADS = 32 / PER; /* rows of a load; loads */

    static __device__ __forceinline__ unsigned begin(const unsigned *, unsigned, unsigned rows,
                                                     unsigned c)
    {
        return c * (rows / PER);
    }

    static __device__ __forceinline__ void begin9(unsigned (&at)[9], const unsigned *, unsigned,
                                                  unsigned rows, unsigned c)
    {
#pragma unroll
        for (int i = 0; i < 9; i++)
            at[i] = (c + i) * (rows / PER);
    }

    /* Load q of lane l: rows (32 q + l) PER and on. */
    static __device__ __forceinline__ void load(uint4 (&v)[LOADS], const struct walk_args<T> &g,
                                                unsigned m, unsigned lane)
    {
        const uint4 *from = (const uint4 *)g.data + (m < g.n ? g.list[m].at : 0) + lane;

#pragma unroll
        for (int q = 0; q < LOADS; q++)
            v[q] = m < g.n && (32 * q + lane) * PER < g.rows ? __ldcs(from + 32 * q)
                                                             : make_uint4(0, 0, 0, 0);
    }

    static __device__ __forceinline__ void add(float (&sum)[8][4], const uint4 (&v)[LOADS],
                                               active<T> a, unsigned lane)
    {
        const unsigned row = lane / 4, pair = lane % 4;

#pragma unroll
        for (int q = 0; q < LOADS; q++) {
            if constexpr (sizeof(T) == 2) {
                unsigned x = row == 2 * pair       ? a.size_x & 0xffff
                             : row == 2 * pair + 1 ? a.size_x << 16
                                                   : 0;

                add_pairs<T>(sum[2 * q], v[q].x, v[q].y, x);
                add_pairs<T>(sum[2 * q + 1], v[q].z, v[q].w, x);
            } else {
                sum[q][0] = fmaf(__uint_as_float(v[q].x), a.x, sum[q][0]);
                sum[q][1] = fmaf(__uint_as_float(v[q].y), a.x, sum[q][1]);
                sum[q][2] = fmaf(__uint_as_float(v[q].z), a.x, sum[q][2]);
                sum[q][3] = fmaf(__uint_as_float(v[q].w), a.x, sum[q][3]);
            }
        }
    }

    template <int WARPS>
    static __device__ __forceinline__ void walk(float (&sum)[8][4], const struct walk_args<T> &g)
    {
        const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        uint4 even[LOADS], odd[LOADS];

        load(even, g, warp, lane);
        for (unsigned m = warp; m < g.n; m += 2 * WARPS) {
            load(odd, g, m + WARPS, lane);
            add(sum, even, g.list[m], lane);
            load(even, g, m + 2 * WARPS, lane);
            if (m + WARPS < g.n)
                add(sum, odd, g.list[m + WARPS], lane);
        }
    }

    static __device__ __forceinline__ void store(float *out, const float (&sum)[8][4],
                                                 unsigned lane)
    {
        constexpr int EACH = PER / 4;

#pragma unroll
        for (int q = 0; q < 8; q++)
            ((float4 *)out)[(32 * (q / EACH) + lane) * EACH + q % EACH] =
                make_float4(sum[q][0], sum[q][1], sum[q][2], sum[q][3]);
    }
};

#endif
#endif
