"""The kind of every operator of torch that has no formula of its own: free, charged by its elements, or unpriced.

Nothing is guessed from an operator's name or tags: what is in no table here and has no formula is unpriced, never
nothing. `tests/test_prices.py` walks the installed torch's operators and fails on one that is neither here, nor has a
formula, nor is taken apart by torch into others that are seen themselves.
"""

from __future__ import annotations

from typing import NamedTuple

UNPRICED = "unpriced"


class Group(NamedTuple):
    """Operators of one kind, and why that kind says all there is to charge for."""

    op: str
    reason: str
    names: str


# By packet name; `relu` is `relu_`, `relu.out` and `_foreach_relu`, too. `prims`, `quantized` and others that have the
# same names as `aten` mean the same by them.
FREE = (
    Group("view", "another look at the same elements", """
        adjoint alias as_strided broadcast_in_dim broadcast_to ccol_indices chunk col_indices collapse_view conj _conj
        crow_indices detach diagonal dsplit expand expand_as flatten _fw_primal hsplit
        imag indices _indices lift_fresh _make_dual mH mT matrix_H movedim moveaxis narrow _neg_view
        _nested_get_values _nested_view_from_buffer _nested_view_from_jagged numpy_T permute positive real
        _reshape_alias row_indices select slice slice_inverse _sparse_broadcast_to split split_dim split_with_sizes
        squeeze swapaxes swapdims t tensor_split transpose _unpack_dual unbind unflatten unfold unsafe_chunk
        unsafe_split unsafe_split_with_sizes _unsafe_view unsqueeze values _values view view_as view_as_complex
        view_as_real view_of view_of_dtype vsplit _test_autograd_multiple_dispatch_view _add_batch_dim
        _remove_batch_dim _autocast_to_full_precision _autocast_to_reduced_precision _reinterpret_tensor
        _mkldnn_reshape _mkldnn_transpose _lazy_clone resize_storage_bytes_ shallow_copy_data_"""),
    Group("view", "a question about a tensor, or a check of it, that computes nothing with its elements", """
        _assert_async _assert_scalar _assert_tensor_metadata _functional_assert_async _functional_assert_scalar
        _functional_sym_constrain_range _functional_sym_constrain_range_for_size sym_constrain_range
        sym_constrain_range_for_size _debug_has_internal_overlap dense_dim sparse_dim _dimI _dimV _nnz is_coalesced
        is_pinned is_same_size is_set_to _has_same_storage_numel _coalesced _local_scalar_dense item equal
        _linalg_check_errors _validate_compressed_sparse_indices q_scale q_zero_point q_per_channel_scales
        q_per_channel_zero_points q_per_channel_axis qscheme _nested_get_lengths _nested_get_offsets
        _nested_get_ragged_idx _nested_get_min_seqlen _nested_get_max_seqlen _nested_get_jagged_dummy
        _nested_tensor_size _nested_tensor_strides _nested_tensor_storage_offsets
        _nested_compute_contiguous_strides_offsets _use_cudnn_ctc_loss _use_miopen_ctc_loss _fused_sdp_choice
        _make_dep_token _make_token _sink_tokens _print record_stream is_vulkan_available _cslt_sparse_mm_search
        conv1d_unpack conv2d_unpack conv2d_unpack_sizes conv3d_unpack conv_unpack conv_transpose1d_unpack
        conv_transpose2d_unpack conv_transpose3d_unpack linear_unpack linear_unpack_fp16 embedding_bag_unpack
        conv2d_dilation conv2d_groups conv2d_output_padding conv2d_padding conv2d_stride conv2d_transpose
        conv3d_dilation conv3d_groups conv3d_output_padding conv3d_padding conv3d_stride conv3d_transpose
        conv_transpose2d_dilation conv_transpose2d_groups conv_transpose2d_output_padding conv_transpose2d_padding
        conv_transpose2d_stride conv_transpose2d_transpose conv_transpose3d_dilation conv_transpose3d_groups
        conv_transpose3d_output_padding conv_transpose3d_padding conv_transpose3d_stride conv_transpose3d_transpose
        qlinear_unpack _cuda_version _is_compiled_against_turbo _jpeg_version _get_mkldnn_serialized_md
        _is_mkldnn_acl_supported _is_mkldnn_bf16_supported _is_mkldnn_fp16_supported _nbytes data_ptr current_device
        mesh_get_process_group inductor_reserve_rng_state"""),
    Group("move", "elements are copied, joined, repeated, padded or laid out in another way", """
        cat stack _stack _chunk_cat clone copy _copy_from _copy_from_and_resize copy_sparse_to_sparse copy_to
        copy_strided contiguous _to_copy convert_element_type device_put _reshape_copy reshape resize _resize_output
        resize_as resize_as_sparse sparse_resize sparse_resize_and_clear repeat tile repeat_interleave pad
        constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
        replication_pad3d pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle im2col col2im roll flip
        rev rot90 tril triu block_diag meshgrid collapse cartesian_prod diag_embed lift_fresh_copy
        _pin_memory _pack_padded_sequence _nested_from_padded _nested_from_padded_and_nested_example
        _nested_from_padded_tensor _nested_tensor_from_mask _nested_tensor_from_mask_left_aligned
        _nested_tensor_from_tensor_list to_padded_tensor _jagged_to_padded_dense_forward
        _padded_dense_to_jagged_forward _to_dense _to_sparse _to_sparse_bsc _to_sparse_bsr _to_sparse_csc
        _to_sparse_csr to_mkldnn _coalesce _convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo
        sparse_mask _sparse_mask_projection sparse_compressed_tensor _sparse_compressed_tensor_with_dims
        sparse_coo_tensor _sparse_coo_tensor_with_dims _sparse_coo_tensor_with_dims_and_tensors _spdiags
        _conj_copy lu_unpack complex set set_data int_repr inductor_force_stride_order"""),
    Group("move", "weights are packed or unpacked for a kernel", """
        _convert_weight_to_int4pack _convert_weight_to_int4pack_for_cpu _dyn_quant_pack_4bit_weight _cslt_compress
        _to_sparse_semi_structured _sparse_semi_structured_apply _sparse_semi_structured_apply_dense
        _sparse_semi_structured_tile _cudnn_rnn_flatten_weight mkldnn_reorder_conv2d_weight
        mkldnn_reorder_conv3d_weight _reorder_convolution_transpose_weight _reorder_convolution_weight
        _reorder_linear_weight _reorder_mkldnn_rnn_layer_weight _mkl_reorder_linear_weight conv1d_prepack
        conv2d_prepack conv3d_prepack conv_prepack conv_transpose1d_prepack conv_transpose2d_prepack
        conv_transpose3d_prepack linear_prepack linear_prepack_fp16 linear_prepack_fp16_legacy linear_prepack_legacy
        qconv_prepack qlinear_prepack make_quantized_cell_params make_quantized_cell_params_dynamic
        make_quantized_cell_params_fp16 embedding_bag_prepack embedding_bag_byte_prepack embedding_bag_4bit_prepack
        embedding_bag_2bit_prepack embedding_bag_byte_unpack embedding_bag_4bit_unpack embedding_bag_2bit_unpack
        embedding_bag_byte_prepack_with_rowwise_min_max embedding_bag_4bit_prepack_with_rowwise_min_max
        embedding_bag_2bit_prepack_with_rowwise_min_max
        int4mm_packed_weight_cpu _wrapped_linear_prepack wrapped_fbgemm_pack_gemm_matrix_fp16"""),
    Group("move", "elements are picked or placed by index or by mask", """
        index _unsafe_index _unsafe_masked_index index_select take gather index_put _index_put_impl _unsafe_index_put
        put index_copy index_fill scatter masked_fill masked_select masked_scatter where select_scatter slice_scatter
        diagonal_scatter as_strided_scatter max_unpool2d max_unpool3d zeros_and_scatter"""),
    Group("move", "between machines or from and to a file; what a sum over machines adds is not the model's", """
        from_file read_file write_file decode_gif decode_image decode_jpeg decode_jpegs_cuda decode_png decode_webp
        encode_jpeg encode_jpegs_cuda encode_png shard_dim_alltoall"""),
    Group("fill", "elements are made, not computed from others", """
        empty empty_strided empty_like empty_permuted empty_quantized _empty_affine_quantized
        _empty_per_channel_affine_quantized _alloc_from_pool zeros zeros_like ones ones_like full full_like fill zero
        arange iota range linspace logspace eye scalar_tensor new_empty new_zeros new_ones new_full new_empty_strided
        _new_zeros_with_same_feature_meta _efficientzerotensor lift tril_indices triu_indices bartlett_window
        blackman_window hamming_window hann_window kaiser_window fft_fftfreq fft_rfftfreq _histogramdd_bin_edges
        _cudnn_init_dropout_state"""),
    Group("fill", "random numbers", """
        rand randn rand_like randn_like randint randint_like randperm random bernoulli normal normal_functional
        uniform log_normal cauchy exponential geometric binomial multinomial poisson _standard_gamma
        _sample_dirichlet _philox_key_fold_in _philox_key_split _philox_normal _philox_uniform philox_rand
        _fill_mem_eff_dropout_mask
        inductor_lookup_seed inductor_rand_eager_offset inductor_rand_eager_offsets inductor_randint inductor_random
        inductor_seed inductor_seeds"""),
    Group("sort", "elements are compared and put in order, looked up or told apart; nothing is added or multiplied", """
        sort topk kthvalue median nanmedian mode searchsorted bucketize isin nonzero nonzero_static argwhere unique_dim
        unique_consecutive unique_dim_consecutive _unique _unique2 nms qnms hash_tensor"""),
)  # fmt: skip

BY_ELEMENTS = (
    Group("add", "one addition per element", "add"),
    Group("sub", "one subtraction per element", "sub rsub"),
    Group("mul", "one multiplication per element", "mul"),
    Group("div", "one division per element", "div"),
    Group("elementwise", "one function of the elements at the same place in each input", """
        abs acos acosh addcdiv addcmul angle asin asinh atan atan2 atanh bessel_i0 bessel_i0e bessel_i1 bessel_i1e
        bessel_j0 bessel_j1 cbrt ceil clamp clamp_max clamp_min conj_physical _conj_physical copysign cos cosh deg2rad
        digamma erf erf_inv erfc erfcx erfinv exp exp2 expm1 float_power floor floor_divide fmax fmin fmod frac frexp
        heaviside hypot i0 igamma igammac isfinite isinf isnan isneginf isposinf ldexp lerp lgamma log log10 log1p log2
        logaddexp logaddexp2 logit maximum maximum_value minimum minimum_value mvlgamma nan_to_num
        ndtri neg nextafter polar polygamma pow rad2deg reciprocal remainder renorm embedding_renorm round rsqrt sgn
        sign signbit sin sinc sinh spherical_bessel_j0 sqrt square tan true_divide trunc xlogy zeta
        special_airy_ai special_bessel_j0 special_bessel_j1 special_bessel_y0 special_bessel_y1
        special_chebyshev_polynomial_t special_chebyshev_polynomial_u special_chebyshev_polynomial_v
        special_chebyshev_polynomial_w special_entr special_erfcx special_hermite_polynomial_h
        special_hermite_polynomial_he special_i0e special_i1 special_i1e special_laguerre_polynomial_l
        special_legendre_polynomial_p special_log_ndtr special_modified_bessel_i0 special_modified_bessel_i1
        special_modified_bessel_k0 special_modified_bessel_k1 special_ndtri special_scaled_modified_bessel_k0
        special_scaled_modified_bessel_k1 special_shifted_chebyshev_polynomial_t
        special_shifted_chebyshev_polynomial_u special_shifted_chebyshev_polynomial_v
        special_shifted_chebyshev_polynomial_w special_spherical_bessel_j0 special_xlog1py special_zeta RotaryEmbedding
        _standard_gamma_grad _dirichlet_grad _masked_scale _transform_bias_rescale_qkv native_dropout_backward
        _sobol_engine_draw
        fma _low_memory_max_pool_offsets_to_indices"""),
    Group("elementwise", "compared, or logic on bits and truths, element by element", """
        eq ne lt le gt ge logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not
        bitwise_left_shift bitwise_right_shift shift_left shift_right_arithmetic __lshift__ __rshift__ __ilshift__
        __irshift__ __xor__ __ixor__ gcd lcm allclose"""),
    Group("elementwise", "numbers are rounded to fewer bits, or scaled back", """
        quantize_per_tensor quantize_per_channel quantize_per_tensor_dynamic dequantize
        _make_per_tensor_quantized_tensor _make_per_channel_quantized_tensor _choose_qparams_per_tensor
        fake_quantize_per_channel_affine_cachemask fake_quantize_per_tensor_affine_cachemask
        _fake_quantize_per_tensor_affine_cachemask_tensor_qparams _fake_quantize_learnable_per_channel_affine
        _fake_quantize_learnable_per_tensor_affine _fused_moving_avg_obs_fq_helper _saturate_weight_to_fp16
        _Bfloat16QuantizedToFloat _FloatToBfloat16Quantized embedding_bag_byte_rowwise_offsets
        embedding_bag_4bit_rowwise_offsets embedding_bag_2bit_rowwise_offsets
        _fake_quantize_learnable_per_channel_affine_backward _fake_quantize_learnable_per_tensor_affine_backward
        inductor_cvt_e8m0_rceil"""),
    Group("activation", "one function of each element", """
        relu hardtanh leaky_relu elu selu celu gelu silu mish sigmoid tanh hardswish hardsigmoid softplus glu
        log_sigmoid log_sigmoid_forward threshold hardshrink softshrink _prelu_kernel relu6 rrelu_with_noise
        glu_jvp elu_backward gelu_backward glu_backward glu_backward_jvp hardshrink_backward hardsigmoid_backward
        hardswish_backward hardtanh_backward leaky_relu_backward log_sigmoid_backward logit_backward
        _prelu_kernel_backward rrelu_with_noise_backward sigmoid_backward silu_backward softplus_backward
        softshrink_backward tanh_backward threshold_backward"""),
    Group("add", "one addition per element, cut off at zero",
          "add_relu _add_relu add_scalar add_scalar_relu qadd qadd_relu"),
    Group("mul", "one multiplication per element, cut off at zero", "mul_relu mul_scalar mul_scalar_relu qmul"),
    Group("move", "joined, and cut off at zero", "cat_relu"),
    Group("dropout", "elements are dropped at random, the others scaled",
          "dropout native_dropout _fused_dropout"),
    Group("reduction", "many elements become one, each looked at once or a small number of times", """
        mean sum amax amin aminmax _aminmax prod var var_mean std std_mean cumsum cumprod cummax cummin _cummax_helper
        _cummin_helper norm native_norm linalg_vector_norm linalg__powsum _foreach_powsum powsum logsumexp
        _logcumsumexp logcumsumexp any all _is_all_true _is_any_true max min argmax argmin count_nonzero nansum
        xor_sum trace dist bincount histc histogram _histogramdd_from_bin_cts _histogramdd_from_bin_tensors
        _sparse_sum _sparse_csr_sum _sparse_csr_prod segment_reduce index_add index_reduce scatter_add
        scatter_reduce _unsafe_masked_index_put_accumulate _amp_foreach_non_finite_check_and_unscale
        _amp_update_scale"""),
    Group("loss", "one term per element, summed", """
        binary_cross_entropy binary_cross_entropy_with_logits mse_loss smooth_l1_loss huber_loss soft_margin_loss
        multi_margin_loss multilabel_margin_loss_forward nll_loss_forward nll_loss2d_forward _ctc_loss _cudnn_ctc_loss
        miopen_ctc_loss binary_cross_entropy_backward mse_loss_backward smooth_l1_loss_backward huber_loss_backward
        soft_margin_loss_backward multi_margin_loss_backward multilabel_margin_loss_backward nll_loss_backward
        nll_loss2d_backward _ctc_loss_backward"""),
    Group("softmax", "exponentials, their sum, and a division", """
        softmax log_softmax _masked_softmax _nested_tensor_softmax_with_shape
        _sparse_softmax _sparse_log_softmax _softmax_backward_data _log_softmax_backward_data _masked_softmax_backward
        _sparse_softmax_backward_data _sparse_log_softmax_backward_data
        prepare_softmax_online"""),
    Group("batch_norm", "mean, variance, and a scale and shift per element", """
        batch_norm batch_norm_relu batch_norm1d batch_norm1d_relu batch_norm2d batch_norm2d_relu batch_norm3d
        batch_norm3d_relu quantized_batch_norm qbatch_norm2d batch_norm_elemt batch_norm_stats batch_norm_gather_stats
        batch_norm_gather_stats_with_counts batch_norm_update_stats native_batch_norm_backward batch_norm_backward
        cudnn_batch_norm_backward miopen_batch_norm_backward batch_norm_backward_elemt batch_norm_backward_reduce"""),
    Group("layer_norm", "mean, variance, and a scale and shift per element", "layer_norm native_layer_norm_backward"),
    Group("group_norm", "mean, variance, and a scale and shift per element", "group_norm native_group_norm_backward"),
    Group("instance_norm", "mean, variance, and a scale and shift per element", "instance_norm"),
    Group("rms_norm", "a mean square, and a scale per element", "_fused_rms_norm_backward"),
    Group("elementwise", "weights are scaled by their norm", "_weight_norm_interface _weight_norm_interface_backward"),
    Group("pool", "a window for each output", """
        mkldnn_adaptive_avg_pool2d roi_align qroi_align roi_pool ps_roi_align ps_roi_pool _roi_align_backward
        _roi_pool_backward _ps_roi_align_backward _ps_roi_pool_backward _adaptive_avg_pool2d_backward
        _adaptive_avg_pool3d_backward adaptive_avg_pool3d_backward adaptive_max_pool2d_backward
        adaptive_max_pool3d_backward avg_pool2d_backward avg_pool3d_backward fractional_max_pool2d_backward
        fractional_max_pool3d_backward max_pool2d_backward max_pool2d_with_indices_backward
        max_pool3d_with_indices_backward mkldnn_adaptive_avg_pool2d_backward mkldnn_max_pool2d_backward
        mkldnn_max_pool3d_backward
        _low_memory_max_pool_with_offsets"""),
    Group("upsample", "each output from a fixed few neighbours", """
        upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
        upsample_nearest3d upsample_trilinear3d _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_lanczos2d_aa
        _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d upsample_bicubic2d_backward
        upsample_bilinear2d_backward upsample_linear1d_backward upsample_nearest1d_backward
        upsample_nearest2d_backward upsample_nearest3d_backward upsample_trilinear3d_backward
        _upsample_bicubic2d_aa_backward _upsample_bilinear2d_aa_backward _upsample_lanczos2d_aa_backward
        _upsample_nearest_exact1d_backward _upsample_nearest_exact2d_backward _upsample_nearest_exact3d_backward"""),
    Group("grid_sample", "each output from a fixed few neighbours of a point", """
        grid_sampler_2d grid_sampler_3d _grid_sampler_2d_cpu_fallback cudnn_grid_sampler grid_sampler_2d_backward
        grid_sampler_3d_backward _grid_sampler_2d_cpu_fallback_backward cudnn_grid_sampler_backward
        cudnn_affine_grid_generator_backward"""),
    Group("embedding", "rows of a table are copied out, and added up in bags or by their gradients", """
        embedding_byte embedding_4bit embedding_dense_backward _embedding_bag_backward
        _embedding_bag_dense_backward"""),
    Group("move", "the gradient of a move is one, or a sum of the elements that were copied more than once", """
        select_backward slice_backward diagonal_backward unfold_backward reflection_pad1d_backward
        reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward replication_pad2d_backward
        replication_pad3d_backward masked_scatter_backward _nested_select_backward _nested_sum_backward
        _sparse_sum_backward _segment_reduce_backward"""),
    Group("elementwise", "the gates of a recurrent cell, whose products are seen by themselves", """
        _thnn_fused_lstm_cell _thnn_fused_gru_cell _thnn_fused_lstm_cell_backward_impl
        _thnn_fused_gru_cell_backward"""),
    Group("elementwise", "a step of an optimiser", """
        _fused_adagrad _fused_adam _fused_adamw _fused_sgd accumulate_grad"""),
)  # fmt: skip

# What is known to hold products, or not known at all; named so that a new operator is told from one that was looked at.
WITHOUT = (
    Group(UNPRICED, "the backward of a product, of an attention or of a recurrent layer", """
        _pdist_backward _slow_conv2d_backward mps_convolution_backward mps_convolution_transpose_backward
        mkldnn_linear_backward_input mkldnn_linear_backward_weights lstm_mps_backward
        _sparse_mm_reduce_impl_backward"""),
    Group(UNPRICED, "its cost depends on data, on what is packed, or on a kernel nobody describes", """
        qlinear qlinear_relu qlinear_dynamic qlinear_relu_dynamic conv2d_run _wrapped_quantized_linear_prepacked
        _triton_multi_head_attention _triton_scaled_dot_attention box_iou_rotated Attention"""),
    Group(UNPRICED, "torch's tests of itself", """
        _foobar _test_autograd_multiple_dispatch _test_functorch_fallback _test_optional_filled_intlist
        _test_optional_floatlist _test_optional_intlist _test_parallel_materialize _test_warn_in_autograd"""),
)  # fmt: skip

# Libraries of operators that never compute with a model's numbers.
HOUSEKEEPING = {
    "profiler": "marks in a profile",
    "streams": "the order of work on a device",
    "mempool": "memory of a device",
    "c10d": "between machines",
    "_c10d_functional": "between machines",
    "_c10d_functional_autograd": "between machines",
    "c10d_functional": "between machines",
    "fsdp": "between machines",
}
# Libraries of torch and torchvision that mean by their names what `aten` means.
OURS = frozenset(
    "aten prims quantized _quantized onednn mkldnn mkldnn_prepacked mkl torchvision image sparse inductor "
    "inductor_prims rngprims quantization coor _dtensor flex_lib onnx".split()
)
GROUP = {name: group for groups in (FREE, BY_ELEMENTS, WITHOUT) for group in groups for name in group.names.split()}


def plain_names(name: str) -> list[str]:
    """The names under which an operator may be listed, nearest first: `_foreach_add_` is `add` for many tensors."""
    found = [name]
    for mark, cut in (("_", str.removesuffix), ("_functional", str.removesuffix), ("_out", str.removesuffix),
                      ("_foreach_", str.removeprefix), ("_copy", str.removesuffix)):  # fmt: skip
        found += [plain for each in found if (plain := cut(each, mark)) != each]
    return found


def group_of(operator: str) -> Group | None:
    """The group that an operator (`aten.relu_`, by packet) is listed in; None where it is in none.

    A view that is copied (`expand_copy`) is a move.
    """
    library, _, name = operator.partition(".")
    if library in HOUSEKEEPING:
        return Group("view", HOUSEKEEPING[library], name)
    if library not in OURS:
        return None
    listed = next((GROUP[plain] for plain in plain_names(name) if plain in GROUP), None)
    if listed is not None and listed.op == "view" and name not in GROUP and name.rstrip("_").endswith("_copy"):
        return Group("move", listed.reason + ", copied", name)
    return listed


def kind_of(operator: str) -> str:
    """The kind of operation of an operator without a formula (`aten.relu_`, by packet); `unpriced` if none is listed.

    >>> kind_of("aten.relu_"), kind_of("aten.some_new_product"), kind_of("mylib.relu")
    ('activation', 'unpriced', 'unpriced')
    """
    group = group_of(operator)
    return UNPRICED if group is None else group.op
